// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"errors"
	"fmt"

	"github.com/go-logr/logr"

	"github.com/fairlead-proxy/fairlead/agent/kernel/netdev"
	"github.com/fairlead-proxy/fairlead/agent/kernel/sysctl"
)

// parameters are the sysctls that this mode needs, and why.
var parameters = []struct{ name, value, why string }{
	{"net/ipv4/vs/conntrack", "1", "so that nftables masquerades packets that IPVS forwards"},
	{"net/ipv4/vs/expire_nodest_conn", "1", "so that flows leave a deleted real server"},
	{"net/ipv4/vs/expire_quiescent_template", "1", "so that persistent clients leave a draining real server"},
	{"net/ipv4/ip_forward", "1", "so that packets reach other nodes"},
}

// strictARP makes the node answer ARP requests only for addresses of the receiving link,
// so not for virtual ones.
var strictARP = []struct{ name, value, why string }{
	{"net/ipv4/conf/all/arp_ignore", "1", "for strictARP"},
	{"net/ipv4/conf/all/arp_announce", "2", "for strictARP"},
}

// host sets up everything on the node that this mode needs besides Services.
type host struct {
	log     logr.Logger
	sysctls sysctl.Parameters
	kernel  kernel
	device  device
	filter  filter

	noIPv6 error // why the node has no virtual IPv6 addresses
}

// prepare adds our device, and sets sysctls and the timeouts of IPVS.
func (h *host) prepare(settings *Settings) error {
	errs := []error{h.device.ensure()}
	wanted := parameters
	if settings.StrictARP {
		wanted = append(wanted[:len(wanted):len(wanted)], strictARP...)
	}
	for _, p := range wanted {
		if err := h.set(p.name, p.value); err != nil {
			errs = append(errs, fmt.Errorf("set %s to %s on this node, %s: %w", p.name, p.value, p.why, err))
		}
	}
	had := h.noIPv6 == nil
	if h.noIPv6 = h.prepareIPv6(); had && h.noIPv6 != nil {
		h.log.Info("IPv6 is not available; only IPv4 is programmed", "reason", h.noIPv6.Error())
	}
	return errors.Join(append(errs, h.setTimeouts(settings.Timeouts))...)
}

func (h *host) set(name, value string) error {
	have, err := h.sysctls.Get(name)
	if err != nil || have == value {
		return err
	}
	return h.sysctls.Set(name, value)
}

// prepareIPv6 returns why this node cannot have virtual IPv6 addresses.
func (h *host) prepareIPv6() error {
	if err := h.filter.IPv6Error(); err != nil {
		return err
	}
	if err := netdev.IPv6Error(h.sysctls); err != nil {
		return err
	}
	// The default for new devices may differ.
	return h.set("net/ipv6/conf/"+DeviceName+"/disable_ipv6", "0")
}

func (h *host) setTimeouts(want Timeouts) error {
	if want == (Timeouts{}) {
		return nil
	}
	have, err := h.kernel.timeouts()
	if err != nil {
		return err
	}
	differs := func(want, have int32) bool { return want != 0 && want != have }
	if differs(want.TCP, have.TCP) || differs(want.TCPFin, have.TCPFin) || differs(want.UDP, have.UDP) {
		return h.kernel.setTimeouts(want)
	}
	return nil
}
