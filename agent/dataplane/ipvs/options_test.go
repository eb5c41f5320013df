// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/utils/ptr"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

func TestParse(t *testing.T) {
	for name, c := range map[string]struct {
		options *v1alpha1.IPVSOptions
		want    Settings
		err     string
	}{
		"absent": {nil, Settings{Scheduler: "rr", Drain: 15 * time.Minute, ReadBack: 10 * time.Second}, ""},
		"empty":  {&v1alpha1.IPVSOptions{}, Settings{Scheduler: "rr", Drain: 15 * time.Minute, ReadBack: 10 * time.Second}, ""},
		"all": {
			&v1alpha1.IPVSOptions{
				Scheduler: "sh", SchedulerFlags: []string{"sh-port"}, StrictARP: ptr.To(true), ExcludeCIDRs: []string{"192.0.2.0/24"},
				TCPTimeoutSeconds: 1, TCPFinTimeoutSeconds: 2, UDPTimeoutSeconds: 3, DrainTimeoutSeconds: ptr.To[int32](0), ReadBackSeconds: 5,
			},
			Settings{
				Scheduler: "sh", SchedulerFlags: []string{"sh-port"}, StrictARP: true, ExcludeCIDRs: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
				Timeouts: Timeouts{1, 2, 3}, ReadBack: 5 * time.Second,
			}, "",
		},
		"a malformed range": {
			&v1alpha1.IPVSOptions{ExcludeCIDRs: []string{"everything", "10.9.1.2/16"}},
			Settings{Scheduler: "rr", Drain: 15 * time.Minute, ReadBack: 10 * time.Second, ExcludeCIDRs: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")}},
			`ipvs.excludeCIDRs: "everything" is not a CIDR`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parse(v1alpha1.NodeRuleSetSpec{IPVS: c.options})
			if (err != nil) != (c.err != "") || err != nil && err.Error() != c.err {
				t.Errorf("error %v, want %q", err, c.err)
			}
			if diff := cmp.Diff(c.want, got, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
				t.Errorf("settings (-want +got):\n%s", diff)
			}
		})
	}
}
