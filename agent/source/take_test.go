// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"errors"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// TestWhatIsComplete checks from when on there is something to program, and from when on it
// is what the API says.
func TestWhatIsComplete(t *testing.T) {
	slices := agenttest.Listed(agenttest.Web("10.96.0.1", "10.1.0.1"))
	node := func(in *Store) { in.SetNode(testNodeRules(1)); in.NodeSynced() }
	for name, c := range map[string]struct {
		do                func(*Store)
		complete, fromAPI bool
	}{
		"nothing":                       {func(*Store) {}, false, false},
		"only the node":                 {node, false, false},
		"only slices":                   {func(in *Store) { in.ReplaceSlices(slices, true) }, false, false},
		"both":                          {func(in *Store) { node(in); in.ReplaceSlices(slices, true) }, true, true},
		"slices, and there is no node":  {func(in *Store) { in.NodeSynced(); in.ReplaceSlices(slices, true) }, false, false},
		"the checkpoint":                {func(in *Store) { in.Restore(testNodeRules(1), slices) }, true, false},
		"the checkpoint and the node":   {func(in *Store) { in.Restore(testNodeRules(1), slices); node(in) }, true, false},
		"the checkpoint and the slices": {func(in *Store) { in.Restore(testNodeRules(1), slices); in.ReplaceSlices(slices, true) }, true, false},
		"the checkpoint and both": {func(in *Store) {
			in.Restore(testNodeRules(1), slices)
			node(in)
			in.ReplaceSlices(slices, true)
		}, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			in := NewStore(time.Now)
			c.do(in)
			if waiting := !in.Waiting().IsZero(); waiting != c.complete {
				t.Errorf("a change waits: %v", waiting)
			}
			if ch, ok := in.Take(); ok != c.complete || ch.FromAPI != c.fromAPI {
				t.Errorf("complete: %v, from the API: %v", ok, ch.FromAPI)
			}
		})
	}
}

// TestTake checks what of the Services and of the node each change concerns.
func TestTake(t *testing.T) {
	in := NewStore(time.Now)
	in.SetNode(testNodeRules(1))
	in.NodeSynced()
	web := agenttest.Web("10.96.0.1", "10.1.0.1")
	in.ReplaceSlices(agenttest.Listed(web), true)
	in.Take()
	id := model.ServiceOf(web)
	for _, step := range []struct {
		name        string
		do          func()
		parts       int // of the Service; negative: it is not in the changes
		node, gone  bool
		wakes, idle bool
	}{
		{"nothing", func() {}, -1, false, false, false, true},
		{"a slice is replaced", func() { in.SetSlice(agenttest.WebName, agenttest.Web("10.96.0.1", "10.1.0.2"), time.Time{}) }, 1, false, false, true, false},
		{"the node changes", func() { in.SetNode(testNodeRules(2)) }, 1, true, false, true, false},
		{"the node's status changes", func() { in.SetNode(testNodeRules(2)) }, -1, false, false, false, true},
		{"the node is gone", func() { in.LoseNode() }, -1, false, true, true, false},
		{"the node is back", func() { in.SetNode(testNodeRules(2)) }, -1, false, false, true, false},
		{"the slice is gone", func() { in.SetSlice(agenttest.WebName, nil, time.Time{}) }, 0, false, false, true, false},
	} {
		select {
		case <-in.Wakeup:
		default:
		}
		step.do()
		woken := false
		select {
		case <-in.Wakeup:
			woken = true
		default:
		}
		ch, ok := in.Take()
		parts, changed := ch.Services[id]
		got := len(parts)
		if !changed {
			got = -1
		}
		if !ok || got != step.parts || (ch.Node != nil) != step.node || ch.NodeGone != step.gone || woken != step.wakes || ch.Since.IsZero() != step.idle {
			t.Errorf("%s: %d parts, node %v, gone %v, woken %v, since %v", step.name, got, ch.Node, ch.NodeGone, woken, ch.Since)
		}
	}
}

// TestNodeOfAnotherName checks that an apiserver that does not know the field selector
// cannot give the node the rules of another.
func TestNodeOfAnotherName(t *testing.T) {
	in := NewStore(time.Now)
	shown := 0
	s := &nodeSink{store: in, name: "here", show: func(types.UID, v1alpha1.NodeRuleSetStatus) { shown++ }, log: logr.Discard()}
	named := func(name string) *v1alpha1.NodeRuleSet {
		return &v1alpha1.NodeRuleSet{ObjectMeta: metav1.ObjectMeta{Name: name, Generation: 7}}
	}
	for name, do := range map[string]func(any) error{
		"added": s.Add, "updated": s.Update, "listed": func(obj any) error { return s.Replace([]any{obj}, "") },
	} {
		if err := do(named("there")); !errors.Is(err, errForeignNode) {
			t.Errorf("%s: error %v", name, err)
		}
		if node, _ := in.Snapshot(); node != nil || shown > 0 || in.Unselected() {
			t.Errorf("%s: taken as %+v", name, node)
		}
	}
	if err := s.Replace([]any{named("here")}, ""); err != nil {
		t.Fatal(err)
	}
	if node, _ := in.Snapshot(); node == nil || node.Generation != 7 || shown != 1 {
		t.Errorf("its own: %+v", node)
	}
}

// TestRefusedIsNotHeld lists a slice that is there and not taken: it is not gone.
func TestRefusedIsNotHeld(t *testing.T) {
	good, bad := agenttest.Web("10.96.0.1", "10.1.0.1"), agenttest.Web("10.96.0.1", "192.0.2.66")
	l := newLab(t, good)
	if err := l.Replace([]any{edited(bad)}, ""); err != nil {
		t.Fatal(err)
	}
	if held := l.store.Held(); held.Slices > 0 {
		t.Errorf("held: %+v", held)
	}
}

// TestEvidenceByFamily checks that each family of a Service is judged by what is wanted of it.
func TestEvidenceByFamily(t *testing.T) {
	v6 := agenttest.Web("fd00:96::1", "fd00:1::1")
	v6.AddressFamily = corev1.IPv6Protocol
	v6.Digest = model.Digest(*v6)
	v4 := agenttest.Web("10.96.0.1", "10.1.0.1")
	for name, c := range map[string]struct {
		spec     *v1alpha1.ServiceRuleSliceSpec
		families map[corev1.IPFamily]bool
		released bool
	}{
		"IPv4, wanted":            {v4, map[corev1.IPFamily]bool{corev1.IPv4Protocol: true}, false},
		"IPv4, only IPv6 is":      {v4, map[corev1.IPFamily]bool{corev1.IPv6Protocol: true}, true},
		"IPv6, wanted":            {v6, map[corev1.IPFamily]bool{corev1.IPv6Protocol: true}, false},
		"IPv6, only IPv4 is":      {v6, map[corev1.IPFamily]bool{corev1.IPv4Protocol: true}, true},
		"IPv6, the Service is no": {v6, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, c.spec)
			l.store.LoseSlice(model.SliceName(model.ServiceOf(c.spec), 0))
			held := heldServices(l.store, 1)
			if len(held) != 1 {
				t.Fatalf("held: %v", held)
			}
			if got := judge(l.store, held[0], model.Wanted{Families: c.families}, nil); got != c.released {
				t.Errorf("released: %v", got)
			}
		})
	}
}

// TestMomentsCountOnce notes a moment that a slice shows again: it was written for another
// reason.
func TestMomentsCountOnce(t *testing.T) {
	now := time.Unix(1000, 0)
	tr := newLatency(func() time.Time { return now })
	a := "default.a-v4-0"
	take := func() int { return len(tr.take(map[string]struct{}{a: {}})) }
	for _, step := range []struct {
		name  string
		began time.Time
		want  int
	}{
		{"before the start", now.Add(-time.Second), 0},
		{"a change", now.Add(time.Second), 1},
		{"the same again", now.Add(time.Second), 0},
		{"an older one", now.Add(time.Millisecond), 0},
		{"unknown", time.Time{}, 0},
		{"the next change", now.Add(2 * time.Second), 1},
	} {
		if tr.note(a, step.began); take() != step.want {
			t.Errorf("%s: want %d", step.name, step.want)
		}
	}
}
