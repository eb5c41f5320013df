// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package takeover

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// found is a NodeRuleSet whose agent has found something of kube-proxy; nil: it has not looked.
func found(action v1alpha1.KubeProxyAction, status *v1alpha1.KubeProxyStatus) *v1alpha1.NodeRuleSet {
	return &v1alpha1.NodeRuleSet{Spec: v1alpha1.NodeRuleSetSpec{KubeProxy: action}, Status: v1alpha1.NodeRuleSetStatus{KubeProxy: status}}
}

// TestPrecheck checks which rollouts are blocked by the condition of the ProxyConfig.
func TestPrecheck(t *testing.T) {
	const take, give = v1alpha1.KubeProxyTakeOver, v1alpha1.KubeProxyGiveBack
	gone, runs, left := &v1alpha1.KubeProxyStatus{}, &v1alpha1.KubeProxyStatus{Running: true}, &v1alpha1.KubeProxyStatus{Leftovers: []string{"table ip kube-proxy"}}
	type nodes = []*v1alpha1.NodeRuleSet
	const unknown = "KubeProxyUnknown: The controller has not looked at the DaemonSet a/b yet"
	for name, c := range map[string]struct {
		takeOver *bool
		reason   string // of the condition; empty: there is none
		behind   bool
		sets     nodes
		want     string
	}{
		"it can":                               {new(true), "NodesPending", false, nodes{found("", runs)}, ""},
		"no DaemonSet":                         {new(true), "DaemonSetNotFound", false, nodes{found("", gone), found("", runs)}, "DaemonSetNotFound: why"},
		"no DaemonSet, the agent is quiet":     {new(true), "DaemonSetNotFound", false, nodes{found("", nil)}, "DaemonSetNotFound: why"},
		"no DaemonSet, and kube-proxy is gone": {new(true), "DaemonSetNotFound", false, nodes{found("", gone), found(take, gone)}, ""},
		"Helm owns it":                         {new(true), "DaemonSetOwned", false, nodes{found("", runs)}, "DaemonSetOwned: why"},
		"no right":                             {new(true), "MissingPermission", false, nodes{found("", runs)}, "MissingPermission: why"},
		"not looked yet":                       {new(true), "", false, nodes{found("", runs)}, unknown},
		"looked before":                        {new(true), "NodesPending", true, nodes{found("", runs)}, unknown},
		"leaves it alone":                      {nil, "", false, nodes{found(take, runs)}, ""},
		"back":                                 {new(false), "GivingBack", false, nodes{found(take, gone)}, ""},
		"back, no DaemonSet":                   {new(false), "DaemonSetNotFound", false, nodes{found(give, runs), found(take, gone)}, "DaemonSetNotFound: why"},
		"back, no DaemonSet, rules are left":   {new(false), "DaemonSetNotFound", false, nodes{found(take, left)}, "DaemonSetNotFound: why"},
		"back, no DaemonSet, agent is quiet":   {new(false), "DaemonSetNotFound", false, nodes{found(take, nil)}, "DaemonSetNotFound: why"},
		"back, no DaemonSet, but it runs":      {new(false), "DaemonSetNotFound", false, nodes{found(take, runs)}, ""},
		"back, and not to some nodes":          {new(false), "DaemonSetSkipsNodes", false, nodes{found(give, runs), found(take, gone)}, "DaemonSetSkipsNodes: why"},
		"back, not to some, but it runs":       {new(false), "DaemonSetSkipsNodes", false, nodes{found(take, runs)}, ""},
		"back, no right":                       {new(false), "MissingPermission", false, nodes{found(take, gone)}, "MissingPermission: why"},
		"back, Helm owns it":                   {new(false), "DaemonSetOwned", false, nodes{found(take, gone)}, ""},
		"back, not looked yet":                 {new(false), "", false, nodes{found(take, gone)}, unknown},
		"back, looked before":                  {new(false), "Replaced", true, nodes{found(take, gone)}, unknown},
		"given back, it is gone":               {new(false), "DaemonSetNotFound", false, nodes{found(give, gone)}, ""},
		"never took over":                      {new(false), "DaemonSetNotFound", false, nodes{found("", gone), found("", runs), found("", nil)}, ""},
		"never took over, not looked yet":      {new(false), "", false, nodes{found("", gone)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			config := &v1alpha1.ProxyConfig{ObjectMeta: metav1.ObjectMeta{Generation: 3}}
			config.Spec.KubeProxy = &v1alpha1.KubeProxyOptions{TakeOver: c.takeOver, DaemonSet: "a/b"}
			if c.reason != "" {
				config.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionKubeProxyReplaced, Reason: c.reason, Message: "why", ObservedGeneration: 3}}
				if c.behind {
					config.Status.Conditions[0].ObservedGeneration = 2
				}
			}
			reason, message := Precheck(config, c.sets)
			if config.Spec.KubeProxy = nil; c.takeOver == nil {
				if other, _ := Precheck(config, c.sets); other != "" {
					t.Errorf("without options: %s", other)
				}
			}
			if diff := cmp.Diff(c.want, strings.TrimSuffix(reason+": "+message, ": ")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
