// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// world is a convergence with a clock, what the API has, and what was observed, in seconds.
type world struct {
	*convergence
	clk   *clocktesting.FakePassiveClock
	start time.Time
	inAPI map[string]*v1alpha1.ServiceRuleSlice
	got   []float64
}

func newWorld() *world {
	w := &world{start: time.Unix(1_700_000_000, 0), inAPI: map[string]*v1alpha1.ServiceRuleSlice{}}
	w.clk = clocktesting.NewFakePassiveClock(w.start)
	w.convergence = newConvergence(w.clk, func(d time.Duration) { w.got = append(w.got, d.Seconds()) })
	return w
}

// at sets the clock, in seconds.
func (w *world) at(seconds float64) {
	w.clk.SetTime(w.start.Add(time.Duration(seconds * float64(time.Second))))
}

// write writes a slice, whose digest is a number, for a change that began at a time; < 0: unknown.
func (w *world) write(name string, digest int, began float64, modify ...func(*v1alpha1.ServiceRuleSlice)) {
	spec := v1alpha1.ServiceRuleSliceSpec{ServiceNamespace: "default", ServiceName: name, AddressFamily: corev1.IPv4Protocol,
		Digest: model.FormatDigest(uint64(digest))}
	s := &v1alpha1.ServiceRuleSlice{Spec: spec, ObjectMeta: metav1.ObjectMeta{Name: model.SliceNameOf(&spec), Annotations: map[string]string{},
		Labels: model.SliceLabels(model.ServiceOf(&spec)),
		ManagedFields: []metav1.ManagedFieldsEntry{{Manager: v1alpha1.ControllerName, Operation: metav1.ManagedFieldsOperationApply,
			FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(`{"f:spec":{}}`)}}}}
	if began >= 0 {
		s.Annotations = model.TriggerAnnotation(w.start.Add(time.Duration(began * float64(time.Second))))
	}
	for _, m := range modify {
		m(s)
	}
	w.setSlice(w.inAPI[name], s, false)
	w.inAPI[name] = s
}

func obsolete(s *v1alpha1.ServiceRuleSlice) {
	s.Annotations[v1alpha1.AnnotationObsolete] = "true"
}

func foreign(s *v1alpha1.ServiceRuleSlice) { s.ManagedFields = nil }

// report has nodes live, and report a digest; 0: none.
func (w *world) report(digest int, names ...string) {
	for _, name := range names {
		set := &v1alpha1.NodeRuleSet{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if digest != 0 {
			set.Status.RulesDigest = model.FormatDigest(uint64(digest))
		}
		w.setNode(set)
		w.beat(name)
	}
}

func (w *world) beat(names ...string) {
	for _, name := range names {
		w.renewed(&v1alpha1.NodeHeartbeat{ObjectMeta: metav1.ObjectMeta{Name: name}}, false)
	}
}

// TestConvergence checks which changes are measured, and up to when. Each slice's digest is a bit.
func TestConvergence(t *testing.T) {
	type step = func(w *world)
	begin := func(w *world) { // two nodes have what there was
		w.write("a", 1, -1)
		w.report(1, "n1", "n2")
		w.evaluate()
		w.got = nil
	}
	at := func(seconds float64, steps ...step) step {
		return func(w *world) {
			w.at(seconds)
			w.beat("n1", "n2")
			for _, s := range steps {
				s(w)
			}
			w.evaluate()
		}
	}
	write := func(name string, digest int, began float64, modify ...func(*v1alpha1.ServiceRuleSlice)) step {
		return func(w *world) { w.write(name, digest, began, modify...) }
	}
	report := func(digest int, names ...string) step { return func(w *world) { w.report(digest, names...) } }
	for name, c := range map[string]struct {
		steps   []step
		want    []float64
		pending float64
	}{
		"nothing":                       {},
		"not yet":                       {steps: []step{at(10, write("b", 2, 9)), at(12, report(3, "n1"))}, pending: 3},
		"all have it":                   {steps: []step{at(10, write("b", 2, 9)), at(12, report(3, "n1")), at(14, report(3, "n2"))}, want: []float64{5}},
		"it is unknown when it began":   {steps: []step{at(10, write("b", 2, -1)), at(12, report(3, "n1", "n2"))}, want: []float64{2}},
		"it began in the future":        {steps: []step{at(10, write("b", 2, 100)), at(12, report(3, "n1", "n2"))}, want: []float64{2}},
		"written for another reason":    {steps: []step{at(10, write("b", 2, 9)), at(11, report(3, "n1", "n2")), at(20, write("b", 4, 9)), at(22, report(5, "n1", "n2"))}, want: []float64{2, 2}},
		"several at once":               {steps: []step{at(10, write("b", 2, 9), write("c", 4, 8)), at(14, report(7, "n1", "n2"))}, want: []float64{5, 6}},
		"up to another change":          {steps: []step{at(10, write("b", 2, 9)), at(11, write("c", 4, 10)), at(14, report(7, "n1"), report(3, "n2"))}, want: []float64{5}, pending: 4},
		"a digest that never was":       {steps: []step{at(10, write("b", 2, 9)), at(14, report(7, "n1", "n2"))}, pending: 5},
		"the report comes first":        {steps: []step{at(10, report(3, "n1", "n2")), at(11, write("b", 2, 9))}, want: []float64{2}},
		"a removal":                     {steps: []step{at(10, write("a", 1, 9, obsolete)), at(11, func(w *world) { w.deleteSlice("default.a-v4-0", w.clk.Now()) }), at(12, report(2, "n1", "n2"), write("b", 2, 12))}, want: []float64{3, 0}},
		"a removal by others":           {steps: []step{at(10, func(w *world) { w.deleteSlice("default.a-v4-0", w.clk.Now()) })}, pending: 0},
		"a foreign slice":               {steps: []step{at(10, write("b", 2, 9, foreign))}},
		"a node that is cleaned up":     {steps: []step{at(10, write("b", 2, 9)), at(12, report(3, "n1"), func(w *world) { w.setNode(cleanedUp("n2")) })}, want: []float64{3}},
		"a node that is gone":           {steps: []step{at(10, write("b", 2, 9)), at(12, report(3, "n1"), func(w *world) { w.deleteNode("n2") })}, want: []float64{3}},
		"a node that reports nothing":   {steps: []step{at(10, write("b", 2, 9)), at(12, report(3, "n1", "n2"), report(0, "n3"))}, want: []float64{3}},
		"a silent agent":                {steps: []step{at(10, report(1, "n3"), write("b", 2, 69)), at(69, report(3, "n1", "n2")), at(70)}, want: []float64{60}},
		"the old digest again":          {steps: []step{at(10, write("b", 2, 9)), at(11, write("b", 0, 10)), at(12), at(75), at(77)}, want: []float64{68, 67}},
		"the old digest, and it is new": {steps: []step{at(10, write("b", 2, 9)), at(11, report(3, "n1", "n2"), write("b", 0, 11)), at(12, report(1, "n1", "n2"))}, want: []float64{2, 1}},
		"it is there when we start": {steps: []step{at(10, func(w *world) {
			s := w.inAPI["a"].DeepCopy()
			s.Spec.Digest = model.FormatDigest(3)
			w.setSlice(nil, s, true)
		}), at(12, report(3, "n1", "n2"))}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			begin(w)
			for _, s := range c.steps {
				s(w)
			}
			if diff := cmp.Diff(c.want, w.got); diff != "" {
				t.Errorf("observed (-want +got):\n%s", diff)
			}
			if got := w.pending().Seconds(); got != c.pending {
				t.Errorf("pending for %v s, want %v", got, c.pending)
			}
		})
	}
}

func cleanedUp(name string) *v1alpha1.NodeRuleSet {
	set := &v1alpha1.NodeRuleSet{ObjectMeta: metav1.ObjectMeta{Name: name}}
	set.Spec.CleanUpSince = &metav1.Time{Time: time.Unix(1, 0)}
	return set
}

// TestOldHeartbeat checks that an agent that was silent when the controller started does not count.
func TestOldHeartbeat(t *testing.T) {
	w := newWorld()
	w.write("a", 1, -1)
	w.report(1, "n1", "n2")
	w.evaluate()
	beat := &v1alpha1.NodeHeartbeat{ObjectMeta: metav1.ObjectMeta{Name: "n2"}}
	beat.Spec.RenewTime = metav1.NewTime(w.start.Add(-2 * time.Minute))
	w.renewed(beat, true)
	w.at(1)
	w.write("b", 2, 1)
	w.got = nil
	w.at(3)
	w.report(3, "n1")
	if w.evaluate(); !cmp.Equal(w.got, []float64{2}) {
		t.Errorf("observed %v", w.got)
	}
}

// TestManyChanges checks that what waits is bounded, and that the rest is measured.
func TestManyChanges(t *testing.T) {
	w := newWorld()
	w.write("a", 1, -1)
	w.report(1, "n1")
	w.evaluate()
	w.got = nil
	for i := range maxPending + 10 {
		w.write("b", 2+i*2, -1)
	}
	if len(w.changes) != maxPending || len(w.numbers) != maxPending {
		t.Errorf("%d changes, %d digests wait", len(w.changes), len(w.numbers))
	}
	w.report(int(w.sum), "n1")
	if w.evaluate(); len(w.got) != maxPending-1 || len(w.changes) != 1 || fmt.Sprint(w.numbers) != fmt.Sprint(map[uint64]int{w.sum: w.first}) {
		t.Errorf("%d measured, %d wait, %v", len(w.got), len(w.changes), w.numbers)
	}
}
