// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package takeover

import (
	"fmt"
	"strings"
	"testing"
	"time"

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
		replaced metav1.ConditionStatus // empty: the agent says nothing
		want     bool
	}{
		"nothing is there":         {take, true, "True", true},
		"something is there":       {take, true, "False", false},
		"the agent has not looked": {take, true, "Unknown", false},
		"it says nothing":          {take, true, "", false},
		"not verified":             {take, false, "True", false},
		"given back":               {give, true, "True", false},
		"left alone":               {"", true, "True", false},
	} {
		t.Run(name, func(t *testing.T) {
			set := &v1alpha1.NodeRuleSet{Spec: v1alpha1.NodeRuleSetSpec{KubeProxy: c.action}}
			if c.replaced != "" {
				set.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionKubeProxyReplaced, Status: c.replaced}}
			}
			if got := HasTakenOver(set, c.verified); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

// replaced returns the condition of a NodeRuleSet.
func replaced(status metav1.ConditionStatus, reason string, since time.Time) []metav1.Condition {
	return []metav1.Condition{{Type: v1alpha1.ConditionKubeProxyReplaced, Status: status, Reason: reason, Message: "so it is",
		LastTransitionTime: metav1.Time{Time: since}}}
}

// TestProgress checks since when a node is done or in trouble, in seconds after it has verified its revision.
func TestProgress(t *testing.T) {
	const take, give = v1alpha1.KubeProxyTakeOver, v1alpha1.KubeProxyGiveBack
	verified := time.Unix(1_700_000_000, 0)
	for name, c := range map[string]struct {
		action   v1alpha1.KubeProxyAction
		replaced metav1.ConditionStatus // empty: the agent says nothing
		reason   string
		since    int
		want     string
		obstacle string
	}{
		"left alone":                      {"", "", "", 0, "done 0", ""},
		"gone":                            {take, "True", "Replaced", 20, "done 20", ""},
		"gone before":                     {take, "True", "Replaced", -20, "done 0", ""},
		"there":                           {take, "False", "KubeProxyFound", -20, "troubled 60", "KubeProxyFound: so it is"},
		"there again":                     {take, "False", "KubeProxyFound", 70, "troubled 70", "KubeProxyFound: so it is"},
		"it was given back":               {take, "False", "GivenBack", 5, "troubled 60", "KubeProxyFound: so it is"},
		"it has not looked yet":           {take, "Unknown", "KubeProxyUnknown", 5, "troubled 60", "KubeProxyFound: so it is"},
		"it says nothing":                 {take, "", "", 0, "troubled 60", "KubeProxyFound: The agent does not say whether kube-proxy is gone"},
		"given back":                      {give, "False", "GivenBack", 10, "done 10", ""},
		"given back before":               {give, "False", "GivenBack", -10, "done 0", ""},
		"kube-proxy has not come":         {give, "Unknown", "GivingBack", 1, "troubled 60", "GivingBack: so it is"},
		"kube-proxy has gone again":       {give, "Unknown", "GivingBack", 70, "troubled 70", "GivingBack: so it is"},
		"it is gone, as of before":        {give, "True", "Replaced", -10, "troubled 60", "GivingBack: so it is"},
		"it gives back, and says nothing": {give, "", "", 0, "troubled 60", "GivingBack: The agent does not say whether kube-proxy serves the node"},
	} {
		t.Run(name, func(t *testing.T) {
			set := &v1alpha1.NodeRuleSet{Spec: v1alpha1.NodeRuleSetSpec{KubeProxy: c.action}}
			if c.replaced != "" {
				set.Status.Conditions = replaced(c.replaced, c.reason, verified.Add(time.Duration(c.since)*time.Second))
			}
			got := ""
			done, troubled := Progress(set, verified)
			if !done.IsZero() {
				got += fmt.Sprintf("done %v", done.Sub(verified).Seconds())
			}
			if !troubled.IsZero() {
				got += fmt.Sprintf("troubled %v", troubled.Sub(verified).Seconds())
			}
			if got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
			reason, message := Obstacle(set)
			if got := strings.TrimSuffix(reason+": "+message, ": "); got != c.obstacle {
				t.Errorf("obstacle %q, want %q", got, c.obstacle)
			}
		})
	}
}
