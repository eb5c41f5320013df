// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// probeName is the name of the table that Probe makes for a moment.
const probeName = "fairlead-probe"

// Probe makes the whole layout under another name in a dormant table, which sees
// no packets, and deletes it again. That IPv6 is missing is no error.
func (d *Dataplane) Probe(ctx context.Context, _ dataplane.Options) (dataplane.Capability, error) {
	d.tables = nil
	return dataplane.Capability{}, d.prepare(ctx)
}

// prepare finds out which families the kernel has. IPv6 is tried again when that is
// due: it may have failed for a reason of that moment.
func (d *Dataplane) prepare(ctx context.Context) error {
	if d.tables == nil {
		if err := d.tryFamily(ctx, unix.NFPROTO_IPV4); err != nil {
			return fmt.Errorf("this kernel cannot run nftables mode: %w", classify(err))
		}
		d.tables = []*table{newTable(unix.NFPROTO_IPV4, tableName, d.layout, false)}
		d.last, d.noIPv6, d.ipv6 = nil, nil, dataplane.Retry{}
	}
	if len(d.tables) > 1 || d.ipv6.Wait(d.clock.Now()) > 0 {
		return nil
	}
	err := classify(d.tryFamily(ctx, unix.NFPROTO_IPV6))
	if ctx.Err() != nil {
		d.tables = nil
		return err
	}
	d.ipv6.Failed(d.clock.Now(), err)
	if err == nil {
		d.tables = append(d.tables, newTable(unix.NFPROTO_IPV6, tableName, d.layout, false))
		d.last = nil // the new table is not read yet
	} else if d.noIPv6 == nil || d.noIPv6.Error() != err.Error() {
		d.log.Info("going on without IPv6", "reason", err.Error())
	}
	d.noIPv6 = err
	return nil
}

// classify separates what a kernel does not have, be it nftables, a family or a part of it
// that our rules need, from what has failed just now.
func classify(err error) error {
	if nft.IsNoFamily(err) || errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) {
		return dataplane.Unsupported(err)
	}
	return err
}

func (d *Dataplane) probe(ctx context.Context, family byte) error {
	t := newTable(family, probeName, d.layout, true)
	if err := d.nft.DeleteTable(ctx, t.Table); err != nil { // left over from a crash
		return err
	}
	b := nft.NewBatch()
	if _, err := t.plan(b, &snapshot{}, probeRules(t)); err != nil {
		return err
	}
	if err := d.nft.Commit(ctx, b); err != nil {
		return err
	}
	return d.nft.DeleteTable(ctx, t.Table)
}

// probeRules has one of everything that the tables can hold.
func probeRules(t *table) *wanted {
	addr, unspecified := netip.AddrFrom4([4]byte{192, 0, 2, 1}), netip.IPv4Unspecified()
	if t.V6() {
		addr, unspecified = netip.MustParseAddr("2001:db8::1"), netip.IPv6Unspecified()
	}
	w := &wanted{Desired: model.NewDesired(), nodePorts: map[netip.Addr]struct{}{addr: {}}}
	w.ClusterIPs[addr], w.LocalEndpoints[addr] = struct{}{}, struct{}{}
	w.Node.PodCIDRs = []netip.Prefix{netip.PrefixFrom(addr, addr.BitLen()-8).Masked()}
	w.Node.ServiceCIDRs = w.Node.PodCIDRs
	w.Node.PodInterface, w.Node.PodInterfacePrefix = "pod", true
	forward := func(m model.Masquerade) model.Backend {
		return model.Backend{Verdict: model.Forward, Masquerade: m, Endpoints: []model.Endpoint{
			netip.AddrPortFrom(addr, 1), netip.AddrPortFrom(addr, 2)}}
	}
	for _, a := range []netip.Addr{addr, unspecified} {
		for i, f := range []model.Frontend{
			{Internal: forward(model.MasqueradeUnlessPod), External: forward(model.MasqueradeNever)},
			{Internal: forward(model.MasqueradeAlways), External: model.Backend{Verdict: model.Drop}},
			{Internal: model.Backend{Verdict: model.Reject}, External: model.Backend{Verdict: model.Reject}},
		} {
			f.Restricted = !a.IsUnspecified()
			if f.Restricted {
				f.Sources = []netip.Prefix{w.Node.PodCIDRs[0], netip.PrefixFrom(addr, addr.BitLen())}
			}
			f.AffinityTimeoutSeconds = int32(i)
			f.Key = model.FrontendKey{Address: a, Protocol: model.TCP, Port: uint16(i + 1)}
			w.Frontends[f.Key] = &f
		}
	}
	return w
}
