// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"cmp"
	"net/netip"
	"time"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// The defaults of the API, for a NodeRuleSet without the parameters.
const (
	defaultScheduler = "rr"
	defaultDrain     = 900 // seconds
	defaultReadBack  = 10  // seconds
)

// ipvsSettings returns the parameters. prefixes parses CIDRs of a field.
func ipvsSettings(o *v1alpha1.IPVSOptions, prefixes func(field string, texts []string) []netip.Prefix) model.IPVSSettings {
	if o == nil {
		o = &v1alpha1.IPVSOptions{}
	}
	drain := int32(defaultDrain)
	if o.DrainTimeoutSeconds != nil {
		drain = *o.DrainTimeoutSeconds
	}
	return model.IPVSSettings{
		Scheduler:      cmp.Or(o.Scheduler, defaultScheduler),
		SchedulerFlags: o.SchedulerFlags,
		StrictARP:      o.StrictARP != nil && *o.StrictARP,
		ExcludeCIDRs:   prefixes("ipvs.excludeCIDRs", o.ExcludeCIDRs),
		Timeouts:       model.IPVSTimeouts{TCP: o.TCPTimeoutSeconds, TCPFin: o.TCPFinTimeoutSeconds, UDP: o.UDPTimeoutSeconds},
		Drain:          time.Duration(drain) * time.Second,
		ReadBack:       time.Duration(cmp.Or(o.ReadBackSeconds, defaultReadBack)) * time.Second,
	}
}
