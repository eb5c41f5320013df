// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/report"
	"github.com/fairlead-proxy/fairlead/agent/source"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// TestCanRelease checks that each thing that may be wrong with kube-proxy or our rules keeps ours.
func TestCanRelease(t *testing.T) {
	for name, change := range map[string]func(*changing, *source.Changes){
		"":                              func(*changing, *source.Changes) {},
		"the apiserver has not said so": func(_ *changing, ch *source.Changes) { ch.FromAPI = false },
		"it served in one look":         func(c *changing, _ *source.Changes) { c.proxy.serves = 1 },
		"it does not serve":             func(c *changing, _ *source.Changes) { c.proxy.serves = -1 },
		"it was not looked for":         func(c *changing, _ *source.Changes) { c.proxy.serves = 0 },
		"the mode changes":              func(c *changing, _ *source.Changes) { c.candidate = &candidate{} },
		"no mode is active":             func(c *changing, _ *source.Changes) { c.dp = nil },
		"nothing is programmed":         func(c *changing, _ *source.Changes) { c.programmed = nil },
		"something older is programmed": func(c *changing, _ *source.Changes) { c.programmed = &report.Programmed{Node: testNodeRules(1)} },
		"the kernel refuses":            func(c *changing, _ *source.Changes) { c.problems[report.KernelError] = errors.New("no") },
		"kube-proxy may have what a mode of ours has left": func(c *changing, _ *source.Changes) {
			c.modes.byName(nftablesMode).Inherits = v1alpha1.KubeProxyNFTables // stands for IPVS
		},
		"it does not serve IPv6, which a Service has": func(c *changing, _ *source.Changes) {
			c.proxy.unserved = corev1.IPv6Protocol
			c.setIPv6(model.Forward)
		},
		"it does not serve IPv4": func(c *changing, _ *source.Changes) { c.proxy.unserved = corev1.IPv4Protocol },
	} {
		t.Run(name, func(t *testing.T) {
			c := readyToGiveBack(t)
			c.proxy.serves, c.proxy.found = settled, &v1alpha1.KubeProxyStatus{Running: true, Mode: v1alpha1.KubeProxyNFTables}
			active, ch := c.dp, source.Changes{FromAPI: true}
			change(c, &ch)
			if got := c.kubeProxy.canRelease(c.Loop, ch); got != (name == "") {
				t.Errorf("%v, want %v", got, name == "")
			}
			c.dp, c.candidate = active, nil // to be closed
		})
	}
}

// setIPv6 gives the table a Service of IPv6.
func (c *changing) setIPv6(v model.Verdict) {
	key := model.FrontendKey{Address: netip.MustParseAddr("fd00:96::1"), Protocol: model.TCP, Port: 80}
	id := model.ServiceID{Namespace: "default", Name: "web", Family: corev1.IPv6Protocol}
	c.table.Set(id, resolve.Result{Frontends: []model.Frontend{{Key: key, PortKey: key, Internal: model.Backend{Verdict: v}, External: model.Backend{Verdict: v}}}})
}

// TestReleaseWithoutIPv6 checks that a kube-proxy without IPv6 is enough where the node has no use for it.
func TestReleaseWithoutIPv6(t *testing.T) {
	for name, prepare := range map[string]func(*changing){
		"no Service has it":      func(*changing) {},
		"no Service forwards it": func(c *changing) { c.setIPv6(model.Reject) },
		"the node cannot program it": func(c *changing) {
			c.setIPv6(model.Forward)
			c.limitations = []dataplane.Limitation{{Reason: dataplane.ReasonIPv6}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newChanging(t)
			c.list()
			c.step(t.Context())
			c.proxy.serves, c.proxy.unserved = settled, corev1.IPv6Protocol
			prepare(c)
			if !c.kubeProxy.canServe(c.Loop) {
				t.Error("kube-proxy is not enough")
			}
		})
	}
}
