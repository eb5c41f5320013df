// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package resolve_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/ptr"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

func TestIPVSSettings(t *testing.T) {
	for name, c := range map[string]struct {
		options *v1alpha1.IPVSOptions
		want    model.IPVSSettings
	}{
		"absent": {nil, model.IPVSSettings{Scheduler: "rr", Drain: 15 * time.Minute, ReadBack: 10 * time.Second}},
		"empty":  {&v1alpha1.IPVSOptions{}, model.IPVSSettings{Scheduler: "rr", Drain: 15 * time.Minute, ReadBack: 10 * time.Second}},
		"all": {
			&v1alpha1.IPVSOptions{
				Scheduler: "sh", SchedulerFlags: []string{"sh-port"}, StrictARP: ptr.To(true), ExcludeCIDRs: []string{"192.0.2.0/24"},
				TCPTimeoutSeconds: 1, TCPFinTimeoutSeconds: 2, UDPTimeoutSeconds: 3, DrainTimeoutSeconds: ptr.To[int32](0), ReadBackSeconds: 5,
			},
			model.IPVSSettings{
				Scheduler: "sh", SchedulerFlags: []string{"sh-port"}, StrictARP: true, ExcludeCIDRs: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
				Timeouts: model.IPVSTimeouts{TCP: 1, TCPFin: 2, UDP: 3}, ReadBack: 5 * time.Second,
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := resolve.Settings(v1alpha1.NodeRuleSetSpec{IPVS: c.options})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got.IPVS, byValue); diff != "" {
				t.Errorf("settings (-want +got):\n%s", diff)
			}
		})
	}
}
