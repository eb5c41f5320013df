// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// TestOtherPortsAreRefused checks that other ports of an address are rejected as long as it is a
// cluster IP, whether it has frontends or not, and in any order.
func TestOtherPortsAreRefused(t *testing.T) {
	a := netip.MustParseAddr("10.96.0.1")
	key := model.FrontendKey{Address: a, Protocol: model.TCP, Port: 80}
	add := func(d *dispatch) { d.set(key, &entry{chain: "web"}) }
	remove := func(d *dispatch) { d.set(key, nil) }
	refuse := func(d *dispatch) { d.refuse(a, true) }
	allow := func(d *dispatch) { d.refuse(a, false) }
	type steps = []func(*dispatch)
	for name, c := range map[string]struct {
		do            steps
		leads, others bool
	}{
		"a cluster IP":                  {steps{add, refuse}, true, true},
		"a cluster IP, other order":     {steps{refuse, add}, true, true},
		"without endpoints":             {steps{refuse}, false, true},
		"only an external IP":           {steps{add}, true, false},
		"a cluster IP no more":          {steps{add, refuse, allow}, true, false},
		"a cluster IP without its port": {steps{add, refuse, remove}, false, true},
		"gone":                          {steps{add, refuse, remove, allow}, false, false},
		"gone, other order":             {steps{refuse, add, allow, remove}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDispatch(internal, false, func(string, renderer) {})
			for _, do := range c.do {
				do(d)
			}
			rules := strings.Join(d.addressRules(a), "\n")
			if leads, refuses := strings.Contains(rules, "-g web"), strings.Contains(rules, "-g "+chainRefuse); leads != c.leads || refuses != c.others {
				t.Errorf("leads to the frontend %v, refuses others %v:\n%s", leads, refuses, rules)
			}
		})
	}
}
