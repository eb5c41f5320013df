// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package proxyconfig

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// beat is a renewal; times are seconds before now.
func beat(uid string, renewed float64) *v1alpha1.NodeHeartbeat {
	at := now.Add(-time.Duration(renewed * float64(time.Second)))
	return &v1alpha1.NodeHeartbeat{ObjectMeta: metav1.ObjectMeta{Name: "a", UID: types.UID(uid)},
		Spec: v1alpha1.NodeHeartbeatSpec{RenewTime: metav1.NewTime(at)}}
}

// TestRenewed checks what counts as the time of a renewal, also where clocks differ.
func TestRenewed(t *testing.T) {
	cases := map[string]struct {
		before, beat *v1alpha1.NodeHeartbeat
		want         float64 // seconds before now
	}{
		"in time":                            {beat("u", 15), beat("u", 0.2), 0.2},
		"the first, old":                     {nil, beat("u", 3600), 3600},
		"the first, of a clock in front":     {nil, beat("u", -3600), 0},
		"of a clock behind":                  {beat("u", 3615), beat("u", 3600), 0},
		"of a clock in front":                {beat("u", -3585), beat("u", -3600), 0},
		"the same once more, after a relist": {beat("u", 15), beat("u", 15), 90},
		"of another object":                  {beat("u", 15), beat("v", 15), 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			h := heartbeats{}
			previous := time.Time{}
			if tc.before != nil {
				previous = now.Add(-90 * time.Second)
				h.last = map[string]time.Time{"a": previous}
			}
			if got := h.renewed(tc.before, tc.beat, now); !got.Equal(previous) {
				t.Errorf("the renewal before: got %s, want %s", got, previous)
			}
			if got := now.Sub(h.all()["a"]).Seconds(); got != tc.want {
				t.Errorf("got %v seconds ago, want %v", got, tc.want)
			}
		})
	}
}

// TestReconciledAgain checks when the status is computed again, though only time passes.
func TestReconciledAgain(t *testing.T) {
	cases := map[string]struct {
		fixture *fixture
		want    time.Duration
	}{
		"the next to be silent": {newFixture(nil).node("a", true).set("a", 7, good).silent("a", 20*time.Second).
			node("b", true).set("b", 7, good).silent("b", 45*time.Second), 15 * time.Second},
		"not for one that is":               {newFixture(nil).node("a", true).set("a", 7, good).silent("a", time.Hour), 0},
		"not for a node that is not ready":  {newFixture(nil).node("a", false).set("a", 7, good), 0},
		"not for a node without a rule set": {newFixture(nil).node("a", true), 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			tc.fixture.in.config = &tc.fixture.in.configs[0]
			if _, got := computeStatus(tc.fixture.in); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

// TestHeartbeatsReconcile checks that renewals reconcile nothing, except that of an agent
// that was not ready.
func TestHeartbeatsReconcile(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	clk := clocktesting.NewFakeClock(now)
	config := &v1alpha1.ProxyConfig{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	r := New(fake.NewClientBuilder().WithScheme(scheme).WithObjects(config).Build(), nil, clk, time.Minute)
	h := r.noteHeartbeats()
	last := beat("u", 0)
	renew := func(after time.Duration, q queue) {
		clk.Step(after)
		next := last.DeepCopy()
		next.Spec.RenewTime = metav1.NewTime(clk.Now())
		h.Update(t.Context(), event.UpdateEvent{ObjectOld: last, ObjectNew: next}, q)
		last = next
	}
	type step struct {
		name string
		do   func(q queue)
		want int
	}
	for _, s := range []step{
		{"the first", func(q queue) { h.Create(t.Context(), event.CreateEvent{Object: last}, q) }, 1},
		{"renewals", func(q queue) { renew(15*time.Second, q); renew(45*time.Second, q) }, 0},
		{"after a silence", func(q queue) { renew(time.Minute, q) }, 1},
		{"deleted", func(q queue) { h.Delete(t.Context(), event.DeleteEvent{Object: last}, q) }, 1},
	} {
		q := &counted{}
		s.do(q)
		if q.added != s.want {
			t.Errorf("%s: %d added, want %d", s.name, q.added, s.want)
		}
	}
	if diff := cmp.Diff(map[string]time.Time{}, r.heartbeats.all()); diff != "" {
		t.Errorf("after the deletion:\n%s", diff)
	}
}

// counted counts what is added.
type counted struct {
	workqueue.TypedRateLimitingInterface[reconcile.Request]
	added int
}

func (c *counted) AddAfter(reconcile.Request, time.Duration) { c.added++ }
