// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"cmp"
	"net/netip"
	"time"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// IPVSSettings are the parameters of the IPVS mode.
type IPVSSettings struct {
	Scheduler      string
	SchedulerFlags []string
	StrictARP      bool

	// ExcludeCIDRs are ranges whose virtual servers are somebody else's.
	ExcludeCIDRs []netip.Prefix

	Timeouts IPVSTimeouts

	// Drain is how long a real server that gets no new connections keeps those it
	// has, ReadBack how often the kernel is read.
	Drain, ReadBack time.Duration
}

// IPVSTimeouts are idle timeouts of connections in seconds; 0 keeps the kernel's.
type IPVSTimeouts struct{ TCP, TCPFin, UDP int32 }

// The defaults of the API, for a NodeRuleSet without the parameters.
const (
	defaultScheduler = "rr"
	defaultDrain     = 900 // seconds
	defaultReadBack  = 10  // seconds
)

// ipvsSettings returns the parameters. prefixes parses CIDRs of a field.
func ipvsSettings(o *v1alpha1.IPVSOptions, prefixes func(field string, texts []string) []netip.Prefix) IPVSSettings {
	if o == nil {
		o = &v1alpha1.IPVSOptions{}
	}
	drain := int32(defaultDrain)
	if o.DrainTimeoutSeconds != nil {
		drain = *o.DrainTimeoutSeconds
	}
	return IPVSSettings{
		Scheduler:      cmp.Or(o.Scheduler, defaultScheduler),
		SchedulerFlags: o.SchedulerFlags,
		StrictARP:      o.StrictARP != nil && *o.StrictARP,
		ExcludeCIDRs:   prefixes("ipvs.excludeCIDRs", o.ExcludeCIDRs),
		Timeouts:       IPVSTimeouts{TCP: o.TCPTimeoutSeconds, TCPFin: o.TCPFinTimeoutSeconds, UDP: o.UDPTimeoutSeconds},
		Drain:          time.Duration(drain) * time.Second,
		ReadBack:       time.Duration(cmp.Or(o.ReadBackSeconds, defaultReadBack)) * time.Second,
	}
}
