// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/compile"
)

func TestAssigned(t *testing.T) {
	now, earlier := time.Unix(1_700_000_000, 500), metav1.Unix(1_600_000_000, 0)
	config := &v1alpha1.ProxyConfig{ObjectMeta: metav1.ObjectMeta{Name: "default"}, Spec: v1alpha1.ProxyConfigSpec{Mode: v1alpha1.ModeIPTables}}
	target := RevisionOf(config).Name
	set := func(change func(*v1alpha1.NodeRuleSetSpec)) *v1alpha1.NodeRuleSet {
		s := &v1alpha1.NodeRuleSet{Spec: v1alpha1.NodeRuleSetSpec{Policy: v1alpha1.PolicyReference{Name: "default"}, Revision: older, AssignedTime: &earlier}}
		change(&s.Spec)
		return s
	}
	has := set(func(*v1alpha1.NodeRuleSetSpec) {})
	hasTarget := set(func(s *v1alpha1.NodeRuleSetSpec) { s.Revision = target })
	for name, c := range map[string]struct {
		strategy v1alpha1.RolloutStrategy
		stable   string
		current  *v1alpha1.NodeRuleSet
		revision string
		since    int64 // 0: not said
	}{
		"at once": {v1alpha1.AllAtOnce, older, has, target, 0},
		"an apiserver that does not know the field":  {"", older, has, target, 0},
		"at once, a new node":                        {v1alpha1.AllAtOnce, older, nil, target, 0},
		"at once, it has it: the trial goes on":      {v1alpha1.AllAtOnce, older, hasTarget, target, earlier.Unix()},
		"it waits":                                   {v1alpha1.Staged, "default-7", has, older, earlier.Unix()},
		"a new node gets the stable one":             {v1alpha1.Staged, older, nil, older, now.Unix()},
		"the first policy":                           {v1alpha1.Staged, "", nil, target, now.Unix()},
		"the node has had another policy":            {v1alpha1.Staged, older, set(func(s *v1alpha1.NodeRuleSetSpec) { s.Policy.Name = "x" }), older, now.Unix()},
		"an older controller has written it":         {v1alpha1.Staged, "", set(func(s *v1alpha1.NodeRuleSetSpec) { s.Revision = "" }), target, now.Unix()},
		"it was about to be cleaned up":              {v1alpha1.Staged, "", set(func(s *v1alpha1.NodeRuleSetSpec) { s.CleanUpSince = &earlier }), target, now.Unix()},
		"it waits, and it is not known for how long": {v1alpha1.Staged, older, set(func(s *v1alpha1.NodeRuleSetSpec) { s.AssignedTime = nil }), older, 0},
	} {
		t.Run(name, func(t *testing.T) {
			in := config.DeepCopy()
			in.Spec.Rollout.Strategy, in.Status.StableRevision = c.strategy, c.stable
			revision, since := Assigned(in, c.current, now)
			got := int64(0)
			if since != nil {
				got = since.Unix()
			}
			if revision != c.revision || got != c.since || since != nil && since.Nanosecond() != 0 {
				t.Errorf("%s since %v, want %s since %d", revision, since, c.revision, c.since)
			}
		})
	}
}

// TestChecks has a node return to a revision, and get or keep others.
func TestChecks(t *testing.T) {
	config := aPolicy()
	config.Spec.Rollout.Checks = []v1alpha1.RolloutCheck{{Name: "dns", FailureLimit: ptr.To[int32](1)}}
	target := RevisionOf(config).Name
	has := func(revision string) *v1alpha1.NodeRuleSet {
		return &v1alpha1.NodeRuleSet{Spec: v1alpha1.NodeRuleSetSpec{Revision: revision, Checks: []v1alpha1.RolloutCheck{{Name: "web"}}}}
	}
	for name, tc := range map[string]struct {
		current  *v1alpha1.NodeRuleSet
		revision string
		want     string
	}{
		"a new node":                       {nil, target, "dns"},
		"a new node gets the stable one":   {nil, "default-0", ""},
		"it is given the new one":          {has("default-0"), target, "dns"},
		"it has the new one":               {has(target), target, "dns"},
		"it returns":                       {has(target), "default-0", ""},
		"it has one that is not asked for": {has("default-0"), "default-0", "web"},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			for _, c := range Checks(config, tc.current, tc.revision) {
				got += c.Name
			}
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
	*Checks(config, nil, target)[0].FailureLimit = 9
	if *config.Spec.Rollout.Checks[0].FailureLimit != 1 {
		t.Error("the ProxyConfig was changed through the result")
	}
}

// aPolicy has a value in each kind of field.
func aPolicy() *v1alpha1.ProxyConfig {
	return &v1alpha1.ProxyConfig{ObjectMeta: metav1.ObjectMeta{Name: "default", Generation: 3}, Spec: v1alpha1.ProxyConfigSpec{
		Priority: ptr.To[int32](3), Mode: v1alpha1.ModeIPVS, FallbackModes: []v1alpha1.ProxyMode{v1alpha1.ModeNFTables},
		IPVS: &v1alpha1.IPVSOptions{Scheduler: "mh"}, SessionAffinity: v1alpha1.SessionAffinityOptions{TimeoutSeconds: 7},
		NodePort: v1alpha1.NodePortOptions{Addresses: []string{"All"}}, ExternalIPs: v1alpha1.ExternalIPOptions{Policy: v1alpha1.ExternalIPAllow},
		Masquerade: v1alpha1.MasqueradeOptions{All: ptr.To(true)}, LocalTraffic: v1alpha1.LocalTrafficOptions{Detect: v1alpha1.DetectNodeCIDR},
		Conntrack: &v1alpha1.ConntrackOptions{Min: ptr.To[int32](5)}, RevisionHistoryLimit: ptr.To[int32](4),
		KubeProxy: &v1alpha1.KubeProxyOptions{TakeOver: new(true), DaemonSet: "kube-system/kube-proxy"}}}
}

// TestRestore checks that a revision is the policy that it was made of, and that one that is not is refused.
func TestRestore(t *testing.T) {
	stored := RevisionOf(aPolicy())
	now := &v1alpha1.ProxyConfig{ObjectMeta: metav1.ObjectMeta{Name: "default", Generation: 9}, Spec: v1alpha1.ProxyConfigSpec{Mode: v1alpha1.ModeNFTables,
		Priority: ptr.To[int32](3), RevisionHistoryLimit: ptr.To[int32](4), MassRemoval: v1alpha1.MassRemovalOptions{MaxPercent: 9},
		DeletionPolicy: v1alpha1.DeletionCleanup, Rollout: v1alpha1.RolloutOptions{Strategy: v1alpha1.Staged}}}
	want := now.DeepCopy()
	want.Spec = aPolicy().Spec
	want.Spec.MassRemoval, want.Spec.DeletionPolicy, want.Spec.Rollout = now.Spec.MassRemoval, now.Spec.DeletionPolicy, now.Spec.Rollout
	want.Spec.KubeProxy.DaemonSet = "" // the ProxyConfig names none any more
	got, err := Restore(now, stored.Name, stored.Data)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("error %v, restored (-want +got):\n%s", err, diff)
	}
	for name, data := range map[string]string{
		"another value": strings.Replace(string(stored.Data), `"mh"`, `"rr"`, 1),
		"a field less":  strings.Replace(string(stored.Data), `"fallbackModes":["NFTables"],`, "", 1),
		"no JSON":       "{",
		"nothing":       "{}",
	} {
		if data == string(stored.Data) {
			t.Fatalf("%s: it is the same", name)
		}
		if got, err := Restore(now, stored.Name, []byte(data)); err == nil {
			t.Errorf("%s: it is used: %+v", name, got.Spec)
		}
	}
}

// TestKept checks that a NodeRuleSet has the whole policy.
func TestKept(t *testing.T) {
	for name, kubeProxy := range map[string]*v1alpha1.KubeProxyOptions{
		"it takes over":  aPolicy().Spec.KubeProxy,
		"it gives back":  {TakeOver: new(false)},
		"it leaves that": nil,
	} {
		t.Run(name, func(t *testing.T) {
			in := aPolicy()
			in.Spec.KubeProxy = kubeProxy
			spec, _ := compile.Node(compile.NodeInput{Node: &corev1.Node{}, Config: in})
			kept := Kept(&v1alpha1.ProxyConfig{ObjectMeta: in.ObjectMeta}, spec)
			if diff := cmp.Diff(policyOf(in.Spec), policyOf(kept.Spec)); diff != "" {
				t.Errorf("policy (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReturnTo(t *testing.T) {
	for name, c := range map[string]struct {
		stable   string
		previous *Previous
		assigned map[string]int
		want     string
	}{
		"the stable one":                   {"1", nil, map[string]int{"1": 1, "2": 5}, "1"},
		"no node has the stable one":       {"0", nil, map[string]int{"1": 5, "2": 1}, "1"},
		"there is no stable one":           {"", nil, map[string]int{"2": 1, "1": 1}, "1"},
		"none has another":                 {"", nil, map[string]int{"9": 3}, ""},
		"it is the stable one":             {"9", nil, map[string]int{"9": 3, "8": 1}, ""},
		"another is in the middle":         {"1", &Previous{From: "0", To: "1"}, map[string]int{"1": 5}, "0"},
		"in the middle, from this one":     {"1", &Previous{From: "9", To: "1"}, map[string]int{"1": 5, "9": 3}, ""},
		"another has succeeded":            {"1", &Previous{From: "0", To: "1", Succeeded: true}, map[string]int{"1": 5}, "1"},
		"succeeded, it is not stable yet":  {"0", &Previous{From: "0", To: "1", Succeeded: true}, map[string]int{"1": 5}, "1"},
		"in the middle of the first one":   {"", &Previous{To: "1"}, map[string]int{"1": 5}, ""},
		"succeeded, and the names compare": {"", &Previous{To: "1", Succeeded: true}, map[string]int{"3": 1, "2": 1, "9": 7}, "2"},
	} {
		t.Run(name, func(t *testing.T) {
			for range 10 { // the order of a map
				if got := ReturnTo("9", c.stable, c.previous, c.assigned); got != c.want {
					t.Fatalf("%q, want %q", got, c.want)
				}
			}
		})
	}
}

func TestPrecheck(t *testing.T) {
	able := v1alpha1.ModeCapability{Mode: v1alpha1.ModeIPVS, Supported: true, Schedulers: []string{"rr"}}
	unable := v1alpha1.ModeCapability{Mode: v1alpha1.ModeIPVS, Message: "no ip_vs"}
	also := v1alpha1.ModeCapability{Mode: v1alpha1.ModeNFTables, Supported: true}
	ipvs := v1alpha1.ProxyConfigSpec{Mode: v1alpha1.ModeIPVS}
	scheduler := v1alpha1.ProxyConfigSpec{Mode: v1alpha1.ModeIPVS, IPVS: &v1alpha1.IPVSOptions{Scheduler: "mh"}}
	fallback := v1alpha1.ProxyConfigSpec{Mode: v1alpha1.ModeIPVS, FallbackModes: []v1alpha1.ProxyMode{v1alpha1.ModeNFTables}, IPVS: scheduler.IPVS}
	type nodes = map[string][]v1alpha1.ModeCapability
	for name, c := range map[string]struct {
		spec  v1alpha1.ProxyConfigSpec
		nodes nodes
		want  string
	}{
		"no nodes":                  {ipvs, nil, ""},
		"all can":                   {ipvs, nodes{"a": {able}, "b": {also, able}}, ""},
		"one has not found out yet": {ipvs, nodes{"a": {able}, "b": nil}, ""},
		"one cannot":                {ipvs, nodes{"a": {able}, "b": {unable, also}}, "No mode of the policy fits b; b: IPVS: no ip_vs. Set fallbackModes, or another mode"},
		"Auto fits":                 {v1alpha1.ProxyConfigSpec{Mode: v1alpha1.ModeAuto}, nodes{"b": {unable}}, ""},
		"no such scheduler": {scheduler, nodes{"a": {able}},
			"No mode of the policy fits a; a: IPVS: the kernel has no scheduler mh. Set fallbackModes, or another mode"},
		"fallback covers it":                 {fallback, nodes{"a": {unable, also}, "b": {able, also}}, ""},
		"fallback that it cannot run either": {fallback, nodes{"a": {unable, {Mode: v1alpha1.ModeNFTables}}}, "No mode of the policy fits a; a: IPVS: no ip_vs. Set fallbackModes, or another mode"},
		"many": {ipvs, nodes{"a": {unable}, "b": {unable}, "c": {unable}, "d": {unable}, "e": {unable}},
			"No mode of the policy fits a, b, c and 2 more; a: IPVS: no ip_vs. Set fallbackModes, or another mode"},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, Precheck(c.spec, c.nodes)); diff != "" {
				t.Errorf("problem (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFirstNames(t *testing.T) {
	for want, names := range map[string][]string{"": nil, "a": {"a"}, "a, b": {"a", "b"}, "a, b and 1 more": {"a", "b", "c"}, "a, b and 2 more": {"a", "b", "c", "d"}} {
		if got := FirstNames(names, 2); got != want {
			t.Errorf("%q: %q, want %q", names, got, want)
		}
	}
}
