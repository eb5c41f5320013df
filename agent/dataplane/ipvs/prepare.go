// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"errors"
	"fmt"

	"github.com/fairlead-proxy/fairlead/rules"
)

// parameters are the sysctls that this mode relies on, and why.
var parameters = []struct{ name, value, why string }{
	{"net/ipv4/vs/conntrack", "1", "so that nftables masquerades what IPVS forwards"},
	{"net/ipv4/vs/expire_nodest_conn", "1", "so that flows leave a real server that is gone"},
	{"net/ipv4/vs/expire_quiescent_template", "1", "so that clients leave a real server that gets no new connections"},
	{"net/ipv4/ip_forward", "1", "so that packets reach other nodes"},
}

// strictARP makes the node answer only for addresses of the device that is asked
// on, so not for the virtual ones.
var strictARP = []struct{ name, value, why string }{
	{"net/ipv4/conf/all/arp_ignore", "1", "for strictARP"},
	{"net/ipv4/conf/all/arp_announce", "2", "for strictARP"},
}

// prepare makes everything be as this mode needs it, besides Services.
func (d *Dataplane) prepare(settings rules.IPVSSettings) error {
	errs := []error{d.device.ensure()}
	wanted := parameters
	if settings.StrictARP {
		wanted = append(wanted[:len(wanted):len(wanted)], strictARP...)
	}
	for _, p := range wanted {
		value, err := d.sysctls.Get(p.name)
		if err == nil && value != p.value {
			err = d.sysctls.Set(p.name, p.value)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("set %s to %s on this node, %s: %w", p.name, p.value, p.why, err))
		}
	}
	return errors.Join(append(errs, d.setTimeouts(settings.Timeouts))...)
}

func (d *Dataplane) setTimeouts(want rules.IPVSTimeouts) error {
	if want == (rules.IPVSTimeouts{}) {
		return nil
	}
	have, err := d.kernel.timeouts()
	if err != nil {
		return err
	}
	differs := func(want, have int32) bool { return want != 0 && want != have }
	if differs(want.TCP, have.TCP) || differs(want.TCPFin, have.TCPFin) || differs(want.UDP, have.UDP) {
		return d.kernel.setTimeouts(want)
	}
	return nil
}

// Probe says whether this kernel can run the mode: whether it has nftables, IPVS
// and the dummy device. Whether it has a scheduler's module is seen when that is
// asked for.
func (d *Dataplane) Probe(ctx context.Context) error {
	if err := d.filter.Probe(ctx); err != nil {
		return err
	}
	if _, err := d.kernel.timeouts(); err != nil {
		return fmt.Errorf("this kernel cannot run IPVS: %w", err)
	}
	return d.probeScheduler("rr")
}

// probeMark is the firewall mark of the virtual server that a probe makes for a
// moment; no packet has it.
const probeMark = 0xf1ffffff

// probeScheduler finds out whether the kernel has a scheduler, or can load it.
func (d *Dataplane) probeScheduler(name string) error {
	key := onMark("IPv4", probeMark)
	if err := d.kernel.addServer(key, server{scheduler: name}); err != nil {
		return fmt.Errorf("scheduler %s (module ip_vs_%s): %w", name, name, err)
	}
	return d.kernel.deleteServer(key)
}

// Cleanup deletes our virtual servers, addresses and tables. Where something is
// ours is known as in Sync; the order is the other way round.
func (d *Dataplane) Cleanup(ctx context.Context) error {
	if err := errors.Join(d.device.ensure(), d.readAddresses()); err != nil {
		return err
	}
	planned, err := d.filter.Plan(ctx, rules.NewDesired())
	if err != nil {
		return err
	}
	d.servers.byKey = map[serverKey]*held{}
	r := serverRules{nodePorts: d.elsewhere}
	if _, err := d.readServers(&r, change{}, planned); err != nil {
		return err
	}
	var errs []error
	for key := range d.servers.byKey {
		errs = append(errs, d.kernel.deleteServer(key))
	}
	d.reset()
	return errors.Join(append(errs, d.device.destroy(), d.filter.Cleanup(ctx))...)
}
