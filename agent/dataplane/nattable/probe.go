// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nattable

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

// probeName is the name of the table that Probe adds and deletes.
const probeName = "fairlead-probe"

// Probe adds the whole layout under another name in a dormant table, which sees no
// packets, and deletes it again. Missing IPv6 is no error.
func (t *Tables) Probe(ctx context.Context) error {
	t.layouts = nil
	return t.prepare(ctx)
}

// prepare finds out which families the kernel supports. IPv6 is tried again when due: it
// may have failed for a temporary reason.
func (t *Tables) prepare(ctx context.Context) error {
	if t.layouts == nil {
		if err := t.TryFamily(ctx, unix.NFPROTO_IPV4); err != nil {
			return fmt.Errorf("this kernel cannot hold the tables of nftables: %w", Classify(err))
		}
		t.layouts = []*layout{newLayout(unix.NFPROTO_IPV4, TableName, t.Target, false)}
		t.last, t.ours, t.noIPv6, t.ipv6 = nil, nil, nil, dataplane.Retry{}
	}
	if len(t.layouts) > 1 || t.ipv6.Wait(t.Clock.Now()) > 0 {
		return nil
	}
	err := Classify(t.TryFamily(ctx, unix.NFPROTO_IPV6))
	if ctx.Err() != nil {
		t.layouts = nil
		return err
	}
	t.ipv6.Failed(t.Clock.Now(), err)
	if err == nil {
		t.layouts = append(t.layouts, newLayout(unix.NFPROTO_IPV6, TableName, t.Target, false))
		t.last, t.ours = nil, nil // the new table is not read yet
	} else if t.noIPv6 == nil || t.noIPv6.Error() != err.Error() {
		t.Log.Info("IPv6 is not available; only IPv4 is programmed", "reason", err.Error())
	}
	t.noIPv6 = err
	return nil
}

// Classify distinguishes missing kernel support (of nftables, a family or an expression
// that the rules need) from temporary errors.
func Classify(err error) error {
	if nft.IsUnsupported(err) || errors.Is(err, unix.ENOENT) {
		return dataplane.Unsupported(err)
	}
	return err
}

func (t *Tables) tryFamily(ctx context.Context, family byte) error {
	l := newLayout(family, probeName, t.Target, true)
	if err := t.Client.DeleteTable(ctx, l.Table); err != nil { // left over from a crash
		return err
	}
	b := newBatches(t.BatchSize)
	if _, err := l.plan(b, &snapshot{}, probeRules(l)); err != nil {
		return err
	}
	if _, err := t.Client.CommitEach(ctx, b.inOrder()); err != nil {
		return err
	}
	return t.Client.DeleteTable(ctx, l.Table)
}

// probeRules has one of everything that the tables can hold.
func probeRules(l *layout) *wanted {
	addr, unspecified := netip.AddrFrom4([4]byte{192, 0, 2, 1}), netip.IPv4Unspecified()
	if l.V6() {
		addr, unspecified = netip.MustParseAddr("2001:db8::1"), netip.IPv6Unspecified()
	}
	w := &wanted{Desired: model.NewDesired(), nodePorts: map[netip.Addr]struct{}{addr: {}}}
	w.ClusterIPs[addr], w.LocalEndpoints[addr] = struct{}{}, struct{}{}
	w.Node.PodCIDRs = []netip.Prefix{netip.PrefixFrom(addr, addr.BitLen()-8).Masked()}
	w.Node.ServiceCIDRs = w.Node.PodCIDRs
	w.Node.NodePortsRestricted, w.Node.NodePortSources = true, w.Node.PodCIDRs
	w.Node.PodInterface, w.Node.PodInterfacePrefix = "pod", true
	forward := func(m model.Masquerade, local bool) model.Backend {
		return model.Backend{Verdict: model.Forward, Masquerade: m, Local: local, Endpoints: []model.Endpoint{
			netip.AddrPortFrom(addr, 1), netip.AddrPortFrom(addr, 2)}}
	}
	for _, a := range []netip.Addr{addr, unspecified} {
		for i, f := range []model.Frontend{
			{Internal: forward(model.MasqueradeUnlessPod, false), External: forward(model.MasqueradeNever, true)},
			{Internal: forward(model.MasqueradeAlways, false), External: model.Backend{Verdict: model.Drop}},
			{Internal: model.Backend{Verdict: model.Reject}, External: model.Backend{Verdict: model.Reject}},
		} {
			f.Restricted = true
			if !a.IsUnspecified() {
				f.Sources = []netip.Prefix{w.Node.PodCIDRs[0], netip.PrefixFrom(addr, addr.BitLen())}
			}
			f.AffinityTimeoutSeconds = int32(i)
			f.Key = model.FrontendKey{Address: a, Protocol: model.TCP, Port: uint16(i + 1)}
			w.Frontends[f.Key] = &f
		}
	}
	return w
}
