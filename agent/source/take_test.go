// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"errors"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
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
		"the node, not all of them":     {func(in *Store) { in.SetNode(testNodeRules(1)); in.ReplaceSlices(slices, true) }, false, false},
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

// TestWakes checks what the engine must take at once, and from when on it waits.
func TestWakes(t *testing.T) {
	for name, c := range map[string]struct {
		before, do func(lab)
		want       bool
	}{
		"nothing":                   {nil, func(lab) {}, false},
		"a slice as before":         {nil, func(l lab) { l.set(holdC) }, false},
		"a slice with a change":     {nil, func(l lab) { l.set(whole("c", 121, 121)) }, true},
		"a slice of a new Service":  {nil, func(l lab) { l.set(holdA) }, true},
		"a slice is held":           {nil, func(l lab) { l.lose(holdC) }, true},
		"it is held on":             {func(l lab) { l.lose(holdC) }, func(l lab) { l.lose(holdC) }, false},
		"it is there again":         {func(l lab) { l.lose(holdC) }, func(l lab) { l.set(holdC) }, true},
		"it was looked for":         {func(l lab) { l.lose(holdC) }, func(l lab) { l.check(holdC) }, true},
		"it is released":            {func(l lab) { l.lose(holdC) }, func(l lab) { l.check() }, true},
		"a slice is refused":        {nil, func(l lab) { _ = l.Update(edited(holdC)) }, true},
		"it is refused on":          {func(l lab) { _ = l.Update(edited(holdC)) }, func(l lab) { _ = l.Update(edited(holdC)) }, false},
		"it is taken again":         {func(l lab) { _ = l.Update(edited(holdC)) }, func(l lab) { l.set(holdC) }, true},
		"all are listed":            {nil, func(l lab) { l.list(holdC) }, true},
		"the checkpoint is read":    {nil, func(l lab) { l.store.ReplaceSlices(agenttest.Listed(holdC), false) }, true},
		"the node changes":          {nil, func(l lab) { l.store.SetNode(testNodeRules(2)) }, true},
		"the node's status changes": {nil, func(l lab) { l.store.SetNode(testNodeRules(1)) }, false},
		"the node is gone":          {nil, func(l lab) { l.store.LoseNode() }, true},
		"the node is listed":        {nil, func(l lab) { l.store.NodeSynced() }, true},
		"all is to be looked at":    {nil, func(l lab) { Renew(l.store) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, holdC)
			if c.before != nil {
				c.before(l)
			}
			l.store.Take()
			select {
			case <-l.store.Wakeup:
			default:
			}
			now, later := false, false
			OnChange(l.store, func() { now = true })
			c.do(l)
			OnChange(l.store, func() { later = true })
			OnChange(l.store, nil)
			woken := false
			select {
			case <-l.store.Wakeup:
				woken = true
			default:
			}
			if waits := !l.store.Waiting().IsZero(); woken != c.want || waits != c.want {
				t.Errorf("woken: %v, a change waits: %v", woken, waits)
			}
			if now != c.want || later != c.want {
				t.Errorf("called by the change: %v, after it: %v", now, later)
			}
		})
	}
}

// TestOldestWaits checks that the change that waits for the longest says for how long, whatever comes
// after it.
func TestOldestWaits(t *testing.T) {
	l := newLab(t, holdC)
	l.store.Take()
	first := l.clock.Now()
	for range 3 {
		l.set(holdA, holdB)
		l.clock.Step(time.Minute)
		l.store.SetNode(testNodeRules(int64(l.clock.Now().Second() + 2)))
	}
	if got := l.store.Waiting(); !got.Equal(first) {
		t.Errorf("waits since %v, want %v", got, first)
	}
	if ch, ok := l.store.Take(); !ok || !ch.Since.Equal(first) || !l.store.Waiting().IsZero() {
		t.Errorf("taken: %v, since %v; then waits since %v", ok, ch.Since, l.store.Waiting())
	}
}

// TestChangeIsNotLost deletes and creates a NodeRuleSet again before its change was taken.
func TestChangeIsNotLost(t *testing.T) {
	l := newLab(t, holdC)
	l.store.Take()
	l.store.SetNode(testNodeRules(2))
	l.store.LoseNode()
	l.store.SetNode(testNodeRules(2))
	if ch, ok := l.store.Take(); !ok || ch.Node == nil || ch.Node.Generation != 2 {
		t.Errorf("taken: %v, %+v", ok, ch.Node)
	}
}

// TestContactWakes checks that an answer that is waited for wakes the engine.
func TestContactWakes(t *testing.T) {
	in := NewStore(time.Now)
	now := time.Now()
	if in.Contact.Since(now) {
		t.Error("knows of an answer before there is one")
	}
	in.Contact.Answered(now.Add(time.Second))
	select {
	case <-in.Wakeup:
	default:
		t.Error("the engine is not woken")
	}
}

// TestRenew checks that all is resolved again, though nothing has changed.
func TestRenew(t *testing.T) {
	l := newLab(t, holdA, holdC)
	l.store.Take()
	Renew(l.store)
	ch, ok := l.store.Take()
	if !ok || ch.Node == nil || ch.Node.Generation != 1 || len(ch.Services) != 2 || len(ch.Slices) != 0 || ch.Count != 2 {
		t.Errorf("%v, the node %+v, %d Services, %d of %d slices", ok, ch.Node, len(ch.Services), len(ch.Slices), ch.Count)
	}
}

// TestNodeIsTaken checks what of a NodeRuleSet is taken, and what the status of the node says of
// one that is not there.
func TestNodeIsTaken(t *testing.T) {
	object := &v1alpha1.NodeRuleSet{ObjectMeta: metav1.ObjectMeta{Name: "here", UID: "uid", Generation: 7}, Spec: agenttest.NodeSpec(),
		Status: v1alpha1.NodeRuleSetStatus{Conditions: []metav1.Condition{{Type: "Programmed"}}}}
	taken := &NodeRules{UID: "uid", Generation: 7, Spec: object.Spec, Reported: object.Status.Conditions}
	listed := func(s *nodeSink) error { return s.Replace([]any{object}, "") }
	for name, c := range map[string]struct {
		do               []func(*nodeSink) error
		want             *NodeRules
		gone, unselected bool
	}{
		"not listed":             {nil, nil, false, false},
		"added":                  {[]func(*nodeSink) error{func(s *nodeSink) error { return s.Add(object) }}, taken, false, false},
		"listed":                 {[]func(*nodeSink) error{listed}, taken, false, false},
		"listed, and none":       {[]func(*nodeSink) error{func(s *nodeSink) error { return s.Replace(nil, "") }}, nil, true, true},
		"no more":                {[]func(*nodeSink) error{listed, func(s *nodeSink) error { return s.Delete(object) }}, taken, true, false},
		"not listed any more":    {[]func(*nodeSink) error{listed, func(s *nodeSink) error { return s.Replace(nil, "") }}, taken, true, false},
		"no more, and there":     {[]func(*nodeSink) error{listed, func(s *nodeSink) error { return s.Delete(object) }, listed}, taken, false, false},
		"something else is sent": {[]func(*nodeSink) error{listed, func(s *nodeSink) error { return ignored(s.Update(&v1alpha1.ServiceRuleSlice{})) }}, taken, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			in := NewStore(time.Now)
			s := &nodeSink{store: in, name: "here", show: func(types.UID, v1alpha1.NodeRuleSetStatus) {}, log: logr.Discard()}
			for _, do := range c.do {
				if err := do(s); err != nil {
					t.Fatal(err)
				}
			}
			got, _ := in.Snapshot()
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if in.nodeGone != c.gone || in.Unselected() != c.unselected {
				t.Errorf("gone: %v, unselected: %v", in.nodeGone, in.Unselected())
			}
		})
	}
}

// ignored wants an error, and returns none.
func ignored(err error) error {
	if err == nil {
		return errors.New("it is taken")
	}
	return nil
}

// setAt replaces a slice because of a change that began at a moment.
func setAt(l lab, spec *v1alpha1.ServiceRuleSliceSpec, began time.Time) {
	l.store.SetSlice(model.SliceNameOf(spec), spec, began)
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
