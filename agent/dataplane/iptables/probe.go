// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// errNoTools is returned if the programs of iptables are missing.
var errNoTools = dataplane.Unsupported(errors.New("no iptables-restore and iptables-save on this node that this kernel can run"))

// Probe lets the programs of the node's variant check one rule of every form, without
// changing anything. Missing IPv6 is no error.
func (d *Dataplane) Probe(ctx context.Context, _ dataplane.Options) (dataplane.Capability, error) {
	d.kernel = nil
	err := d.prepare(ctx)
	return dataplane.Capability{Variant: d.variant}, err
}

// prepare finds out which variant the node uses, and which families it supports. IPv6 is
// tried again when due: it may have failed for a temporary reason.
func (d *Dataplane) prepare(ctx context.Context) error {
	if d.kernel != nil {
		if d.noIPv6 != nil && d.ipv6.Wait(d.clock.Now()) == 0 {
			return d.use(ctx, d.kernel, d.variant)
		}
		return nil
	}
	found, err := d.findTools(ctx)
	if err != nil {
		return fmt.Errorf("find the programs of iptables: %w", err)
	}
	if len(found) == 0 {
		return errNoTools
	}
	all, err := d.choose(ctx, found)
	if err != nil {
		return fmt.Errorf("this node cannot run iptables mode: %w", err)
	}
	var errs []error
	for _, t := range all {
		if err := try(ctx, t, false); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", t, err))
			if !d.failed(t) {
				break
			}
			continue
		}
		d.failures = nil
		d.others = slices.DeleteFunc(slices.Clone(all), func(o *tools) bool { return o == t })
		d.ipv6 = dataplane.Retry{}
		return d.use(ctx, t, t.String())
	}
	return fmt.Errorf("this node cannot run iptables mode: %w", errors.Join(errs...))
}

// use switches to a variant, with the families that it supports now. If these are the
// current ones, nothing changes.
func (d *Dataplane) use(ctx context.Context, k kernel, variant string) error {
	err := try(ctx, k, true)
	if ctx.Err() != nil { // then err says nothing of the kernel, and may be nil
		return ctx.Err()
	}
	d.ipv6.Failed(d.clock.Now(), err)
	if err != nil && (d.noIPv6 == nil || d.noIPv6.Error() != err.Error()) {
		d.log.Info("IPv6 is not available; only IPv4 is programmed", "reason", err.Error())
	}
	again := d.kernel == k && err != nil
	d.kernel, d.variant, d.noIPv6 = k, variant, err
	if again {
		return nil
	}
	d.families = []*family{newFamily(false)}
	if err == nil {
		d.families = append(d.families, newFamily(true))
	}
	d.desired, d.known, d.ours, d.found = model.NewDesired(), false, false, 0
	return nil
}

func newFamily(v6 bool) *family { return &family{v6: v6, want: newWanted(v6), held: newHeld()} }

// try lets a variant check a rule of every form.
func try(ctx context.Context, k kernel, v6 bool) error {
	w := newWanted(v6)
	delta := probeRules(v6)
	w.apply(&delta, &settings{NodeSettings: *delta.Node, v6: v6})
	s := newScript()
	for id, sum := range w.sums {
		s.write(id, sum.rules, func() []string { return w.rules(id) })
	}
	return k.try(ctx, v6, s)
}

// probeRules has one rule of every form.
func probeRules(v6 bool) model.Delta {
	addr, unspecified := netip.AddrFrom4([4]byte{192, 0, 2, 1}), netip.IPv4Unspecified()
	if v6 {
		addr, unspecified = netip.MustParseAddr("2001:db8::1"), netip.IPv6Unspecified()
	}
	d := model.NewDesired()
	d.ClusterIPs[addr], d.LocalEndpoints[addr] = struct{}{}, struct{}{}
	d.Node.PodCIDRs = []netip.Prefix{netip.PrefixFrom(addr, addr.BitLen()-8).Masked()}
	d.Node.ServiceCIDRs = d.Node.PodCIDRs
	d.Node.PodInterface, d.Node.PodInterfacePrefix = "pod", true
	d.Node.NodePortAddresses = []netip.Addr{addr}
	d.Node.NodePortLocalhost = true
	d.Node.NodePortsRestricted, d.Node.NodePortSources = true, d.Node.PodCIDRs
	forward := func(m model.Masquerade) model.Backend {
		return model.Backend{Verdict: model.Forward, Masquerade: m, Endpoints: []model.Endpoint{
			netip.AddrPortFrom(addr, 1), netip.AddrPortFrom(addr, 2)}}
	}
	for _, a := range []netip.Addr{addr, unspecified} {
		for i, f := range []model.Frontend{
			{Internal: forward(model.MasqueradeUnlessPod), External: forward(model.MasqueradeNever)},
			{Internal: forward(model.MasqueradeAlways), AffinityTimeoutSeconds: 60},
			{Internal: model.Backend{Verdict: model.Reject}, External: model.Backend{Verdict: model.Drop}},
		} {
			for _, p := range []model.Protocol{model.TCP, model.UDP, model.SCTP} {
				f.Key = model.FrontendKey{Address: a, Protocol: p, Port: uint16(1 + i)}
				if f.External.Verdict == "" {
					f.External = f.Internal
				}
				if f.Restricted = true; a == addr {
					f.Sources = d.Node.PodCIDRs
				}
				f.Service = model.ServiceID{Namespace: "default", Name: fmt.Sprint(i, a, p), Family: model.FamilyOf(a)}
				d.Frontends[f.Key] = &f
			}
		}
	}
	return model.Diff(model.NewDesired(), d)
}
