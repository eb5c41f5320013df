// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// nodesOfZone returns members a0, a1, ... of a zone.
func nodesOfZone(zone string, n int) []Member {
	var out []Member
	for i := range n {
		out = append(out, Member{Name: fmt.Sprintf("%s%d", zone, i), Ready: true, Assigned: older, Kind: zone, Labels: map[string]string{"zone": zone}})
	}
	return out
}

func TestStrategyOf(t *testing.T) {
	number := func(n int32) *intstr.IntOrString { return ptr.To(intstr.FromInt32(n)) }
	percent := func(n int) *intstr.IntOrString { return ptr.To(intstr.FromString(fmt.Sprintf("%d%%", n))) }
	zoneA := &v1alpha1.NodeSelector{MatchLabels: map[string]v1alpha1.LabelValue{"zone": "a"}}
	stage := func(s v1alpha1.RolloutStage) v1alpha1.RolloutOptions {
		s.Name = "s"
		return v1alpha1.RolloutOptions{Stages: []v1alpha1.RolloutStage{s}}
	}
	base := func(change func(*Strategy)) Strategy {
		s := Strategy{MaxUnavailable: 1, FailureThreshold: 1, NodeDeadline: time.Minute, ProgressDeadline: 10 * time.Minute}
		change(&s)
		return s
	}
	one := func(s Stage) func(*Strategy) {
		return func(out *Strategy) {
			s.Name = "s"
			s.Soak += time.Minute
			out.Stages = []Stage{s}
		}
	}
	ofA := map[string]bool{"a0": true, "a1": true, "a2": true}
	members := append(nodesOfZone("a", 3), nodesOfZone("b", 7)...)
	for name, c := range map[string]struct {
		options v1alpha1.RolloutOptions
		want    Strategy
	}{
		"the default is one canary of each kind": {v1alpha1.RolloutOptions{}, base(func(s *Strategy) {
			s.Stages = []Stage{{Name: Canary, Nodes: 2, Of: map[string]bool{"a0": true, "b0": true}, MaxUnavailable: 1, Soak: time.Minute}}
		})},
		"all fields": {v1alpha1.RolloutOptions{Stages: []v1alpha1.RolloutStage{{Name: "s", NodeSelector: zoneA, Nodes: number(2), MaxUnavailable: number(3),
			SoakSeconds: ptr.To[int32](0), Approval: v1alpha1.ApprovalRequired}}, MaxUnavailable: percent(50), FailureThreshold: percent(25),
			NodeDeadlineSeconds: ptr.To[int32](5), ProgressDeadlineSeconds: ptr.To[int32](7), OnFailure: v1alpha1.OnFailurePause, Paused: ptr.To(true)},
			Strategy{Stages: []Stage{{Name: "s", Nodes: 2, Of: ofA, MaxUnavailable: 3, Approval: true}}, MaxUnavailable: 5, FailureThreshold: 3,
				NodeDeadline: 5 * time.Second, ProgressDeadline: 7 * time.Second, KeepFailed: true, Paused: true}},
		"a stage of all":             {stage(v1alpha1.RolloutStage{}), base(one(Stage{Nodes: 10, MaxUnavailable: 1}))},
		"a percentage is rounded up": {stage(v1alpha1.RolloutStage{Nodes: percent(11)}), base(one(Stage{Nodes: 2, MaxUnavailable: 1}))},
		"a percentage of the selected": {stage(v1alpha1.RolloutStage{NodeSelector: zoneA, Nodes: percent(34)}),
			base(one(Stage{Nodes: 2, Of: ofA, MaxUnavailable: 1}))},
		"more than there are": {stage(v1alpha1.RolloutStage{NodeSelector: zoneA, Nodes: number(9)}), base(one(Stage{Nodes: 3, Of: ofA, MaxUnavailable: 1}))},
		"unavailable is rounded down": {stage(v1alpha1.RolloutStage{MaxUnavailable: percent(39)}),
			base(one(Stage{Nodes: 10, MaxUnavailable: 3}))},
		"unavailable of all, not of the selected": {stage(v1alpha1.RolloutStage{NodeSelector: zoneA, MaxUnavailable: percent(50)}),
			base(one(Stage{Nodes: 3, Of: ofA, MaxUnavailable: 5}))},
		"but at least one": {stage(v1alpha1.RolloutStage{MaxUnavailable: percent(1)}), base(one(Stage{Nodes: 10, MaxUnavailable: 1}))},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := StrategyOf(c.options, newer, members)
			if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
				t.Errorf("error %v, strategy (-want +got):\n%s", err, diff)
			}
		})
	}
	for n, want := range map[int]int{1: 1, 19: 1, 20: 2, 29: 2} { // a tenth
		if got, err := StrategyOf(v1alpha1.RolloutOptions{}, newer, nodesOfZone("a", n)); err != nil || got.MaxUnavailable != want {
			t.Errorf("by default %d of %d nodes may be unavailable, want %d: %v", got.MaxUnavailable, n, want, err)
		}
	}
	invalid := stage(v1alpha1.RolloutStage{NodeSelector: &v1alpha1.NodeSelector{MatchLabels: map[string]v1alpha1.LabelValue{"not a label": ""}}})
	if _, err := StrategyOf(invalid, newer, members); err == nil {
		t.Error("an invalid selector selects no node, or all")
	}
}

// TestCanaries checks which nodes are the canaries by default.
func TestCanaries(t *testing.T) {
	kinds := func(change func([]Member)) []Member {
		out := append(append(append(nodesOfZone("a", 2), nodesOfZone("b", 2)...), nodesOfZone("c", 2)...), nodesOfZone("d", 2)...)
		change(out)
		return out
	}
	for name, c := range map[string]struct {
		members []Member
		want    map[string]bool
	}{
		"none":                 {nil, map[string]bool{}},
		"at most three":        {kinds(func([]Member) {}), map[string]bool{"a0": true, "b0": true, "c0": true}},
		"a node that is ready": {kinds(func(m []Member) { m[0].Ready = false }), map[string]bool{"a1": true, "b0": true, "c0": true}},
		"who has it stays":     {kinds(func(m []Member) { m[7].Assigned, m[7].Ready = newer, false }), map[string]bool{"a0": true, "b0": true, "d1": true}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, eachKind(newer, c.members)); diff != "" {
				t.Errorf("canaries (-want +got):\n%s", diff)
			}
		})
	}
}
