// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// Settings are the parameters of the mode in a policy. They are its dataplane.Options.
type Settings struct {
	Scheduler      string
	SchedulerFlags []string
	StrictARP      bool

	// ExcludeCIDRs are ranges of virtual servers that do not belong to Fairlead.
	ExcludeCIDRs []netip.Prefix

	Timeouts Timeouts

	// Drain is how long a real server without new connections keeps its existing ones.
	// ReadBack is how often the kernel is read.
	Drain, ReadBack time.Duration
}

// Timeouts are idle timeouts of connections in seconds; 0 keeps the kernel's.
type Timeouts struct{ TCP, TCPFin, UDP int32 }

// The defaults of the API, for a NodeRuleSet without these parameters.
const (
	defaultScheduler = "rr"
	defaultDrain     = 900 // seconds
	defaultReadBack  = 10  // seconds
)

// parse is the Parse of the mode.
func parse(spec v1alpha1.NodeRuleSetSpec) (dataplane.Options, error) {
	o := spec.IPVS
	if o == nil {
		o = &v1alpha1.IPVSOptions{}
	}
	drain := int32(defaultDrain)
	if o.DrainTimeoutSeconds != nil {
		drain = *o.DrainTimeoutSeconds
	}
	s := Settings{
		Scheduler:      cmp.Or(o.Scheduler, defaultScheduler),
		SchedulerFlags: o.SchedulerFlags,
		StrictARP:      o.StrictARP != nil && *o.StrictARP,
		Timeouts:       Timeouts{TCP: o.TCPTimeoutSeconds, TCPFin: o.TCPFinTimeoutSeconds, UDP: o.UDPTimeoutSeconds},
		Drain:          time.Duration(drain) * time.Second,
		ReadBack:       time.Duration(cmp.Or(o.ReadBackSeconds, defaultReadBack)) * time.Second,
	}
	var errs []error
	for _, text := range o.ExcludeCIDRs {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("ipvs.excludeCIDRs: %q is not a CIDR", text))
			continue
		}
		s.ExcludeCIDRs = append(s.ExcludeCIDRs, p.Masked())
	}
	return s, errors.Join(errs...)
}

// excluded says whether the policy excludes virtual servers on an address.
func (s *Settings) excluded(a netip.Addr) bool {
	return slices.ContainsFunc(s.ExcludeCIDRs, func(p netip.Prefix) bool { return p.Contains(a) })
}

// settingsOf returns options as Settings.
func settingsOf(o dataplane.Options) Settings {
	if o == nil {
		o, _ = parse(v1alpha1.NodeRuleSetSpec{})
	}
	return o.(Settings)
}
