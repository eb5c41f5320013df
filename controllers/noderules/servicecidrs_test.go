// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package noderules

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// fakeSource records whether it was started.
type fakeSource struct {
	begin           time.Time
	started, synced chan time.Duration
}

func (f *fakeSource) Start(context.Context, workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	f.started <- time.Since(f.begin)
	return nil
}

func (f *fakeSource) WaitForSync(context.Context) error {
	f.synced <- time.Since(f.begin)
	return nil
}

// TestOptionalKind checks when a kind that the cluster may not serve is watched.
func TestOptionalKind(t *testing.T) {
	notServed, broken := error(&apimeta.NoKindMatchError{}), errors.New("no apiserver")
	cases := map[string]struct {
		answers []error // of the check whether it is served
		started time.Duration
		waits   bool // for the objects, before the controller works
	}{
		"served":             {[]error{nil}, 0, true},
		"not served":         {[]error{notServed, notServed, nil}, 2 * servedInterval, false},
		"no answer at first": {[]error{broken, broken, nil}, 2 * time.Second, true},
		"no answer later":    {[]error{notServed, broken, nil}, servedInterval + time.Second, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fakeSource{time.Now(), make(chan time.Duration, 1), make(chan time.Duration, 1)}
				answers := tc.answers
				s := &optionalKind{SyncingSource: f, decided: make(chan error, 1), served: func() error {
					err := answers[0]
					answers = answers[1:]
					return err
				}}
				if err := s.Start(t.Context(), nil); err != nil {
					t.Fatal(err)
				}
				if err := s.WaitForSync(t.Context()); err != nil {
					t.Fatal(err)
				}
				if waited := len(f.synced) == 1; waited != tc.waits {
					t.Errorf("waited for the objects: %v, want %v", waited, tc.waits)
				}
				if got := <-f.started; got != tc.started {
					t.Errorf("started after %s, want %s", got, tc.started)
				}
			})
		})
	}
}

// TestOptionalKindGivesUp checks that a missing answer of the apiserver is an error.
func TestOptionalKindGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &optionalKind{decided: make(chan error, 1), served: func() error { return errors.New("no apiserver") }}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := s.Start(ctx, nil); err != nil {
			t.Fatal(err)
		}
		if err := s.WaitForSync(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want that the time is over", err)
		}
	})
}

// TestRangesChanged checks which changes of a ServiceCIDR trigger a reconcile.
func TestRangesChanged(t *testing.T) {
	cases := map[string]struct {
		change func(*networkingv1.ServiceCIDR)
		want   bool
	}{
		"status":        {func(c *networkingv1.ServiceCIDR) { c.Status.Conditions = []metav1.Condition{{Type: "Ready"}} }, false},
		"being deleted": {func(c *networkingv1.ServiceCIDR) { now := metav1.Now(); c.DeletionTimestamp = &now }, false},
		"second family": {func(c *networkingv1.ServiceCIDR) { c.Spec.CIDRs = append(c.Spec.CIDRs, "fd00:96::/108") }, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			before := &networkingv1.ServiceCIDR{Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.96.0.0/16"}}}
			after := before.DeepCopy()
			tc.change(after)
			if got := rangesChanged().Update(event.UpdateEvent{ObjectOld: before, ObjectNew: after}); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}
