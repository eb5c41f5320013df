// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"errors"
	"fmt"

	"github.com/fairlead-proxy/fairlead/agent/kernel/netdev"
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
func (d *Dataplane) prepare() error {
	errs := []error{d.device.ensure()}
	wanted := parameters
	if d.settings.StrictARP {
		wanted = append(wanted[:len(wanted):len(wanted)], strictARP...)
	}
	for _, p := range wanted {
		if err := d.set(p.name, p.value); err != nil {
			errs = append(errs, fmt.Errorf("set %s to %s on this node, %s: %w", p.name, p.value, p.why, err))
		}
	}
	had := d.noIPv6 == nil
	if d.noIPv6 = d.prepareIPv6(); had && d.noIPv6 != nil {
		d.log.Info("IPv6 is not available; only IPv4 is programmed", "reason", d.noIPv6.Error())
	}
	return errors.Join(append(errs, d.setTimeouts(d.settings.Timeouts))...)
}

func (d *Dataplane) set(name, value string) error {
	have, err := d.sysctls.Get(name)
	if err != nil || have == value {
		return err
	}
	return d.sysctls.Set(name, value)
}

// prepareIPv6 says why this node cannot have virtual addresses of IPv6.
func (d *Dataplane) prepareIPv6() error {
	if err := d.filter.IPv6Error(); err != nil {
		return err
	}
	if err := netdev.IPv6Error(d.sysctls); err != nil {
		return err
	}
	// The default for new devices may be another.
	return d.set("net/ipv6/conf/"+DeviceName+"/disable_ipv6", "0")
}

func (d *Dataplane) setTimeouts(want Timeouts) error {
	if want == (Timeouts{}) {
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
