// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package takeover

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

func TestReplaced(t *testing.T) {
	const take, give = v1alpha1.KubeProxyTakeOver, v1alpha1.KubeProxyGiveBack
	for name, c := range map[string]struct {
		action                         v1alpha1.KubeProxyAction
		verified, programmed, labelled bool
		want                           bool
	}{
		"the rules work":                  {take, true, true, false, true},
		"not verified yet":                {take, false, true, false, false},
		"they do not work any more":       {take, true, false, false, false},
		"neither":                         {take, false, false, false, false},
		"another revision, has the label": {take, false, true, true, true},
		"the rules fail, has the label":   {take, true, false, true, true},
		"all stays":                       {take, true, true, true, true},
		"given back":                      {give, true, true, true, false},
		"given back before":               {give, true, true, false, false},
		"left alone":                      {"", true, true, false, false},
		"left alone again":                {"", true, true, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			set := &v1alpha1.NodeRuleSet{Spec: v1alpha1.NodeRuleSetSpec{KubeProxy: c.action}}
			if c.programmed {
				set.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionProgrammed, Status: metav1.ConditionTrue}}
			}
			if got := Replaced(set, c.verified, c.labelled); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

func TestHasTakenOver(t *testing.T) {
	const take, give = v1alpha1.KubeProxyTakeOver, v1alpha1.KubeProxyGiveBack
	for name, c := range map[string]struct {
		action   v1alpha1.KubeProxyAction
		verified bool
		found    *v1alpha1.KubeProxyStatus
		want     bool
	}{
		"nothing found":       {take, true, nil, true},
		"nothing left":        {take, true, &v1alpha1.KubeProxyStatus{}, true},
		"it runs":             {take, true, &v1alpha1.KubeProxyStatus{Running: true}, false},
		"its rules are left":  {take, true, &v1alpha1.KubeProxyStatus{Mode: "nftables", Leftovers: []string{"nftables table ip kube-proxy"}}, false},
		"the agent is unsure": {take, true, &v1alpha1.KubeProxyStatus{Message: "Failed to look"}, false},
		"not verified":        {take, false, nil, false},
		"given back":          {give, true, nil, false},
		"left alone":          {"", true, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			set := &v1alpha1.NodeRuleSet{Spec: v1alpha1.NodeRuleSetSpec{KubeProxy: c.action}, Status: v1alpha1.NodeRuleSetStatus{KubeProxy: c.found}}
			if got := HasTakenOver(set, c.verified); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}
