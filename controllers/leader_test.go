// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
)

// election runs replicas that elect a leader, in a bubble with a clock of its own.
type election struct {
	options ctrl.Options
	client  *fake.Clientset
	begin   time.Time
	request func(name string) error // comes before each request of a replica

	mu  sync.Mutex
	log []string // who began and ended to lead, and when
}

func (e *election) run(ctx context.Context, name string) {
	note := func(what string) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.log = append(e.log, fmt.Sprintf("%s %s", name, what))
	}
	ctx, end := context.WithCancelCause(ctx)
	leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
		Lock: &lease{end: end, Interface: &slowLock{func() error { return e.request(name) }, &resourcelock.LeaseLock{
			LeaseMeta: metav1.ObjectMeta{Namespace: e.options.LeaderElectionNamespace, Name: e.options.LeaderElectionID}, Client: e.client.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: name},
		}}},
		LeaseDuration: *e.options.LeaseDuration, RenewDeadline: *e.options.RenewDeadline, RetryPeriod: *e.options.RetryPeriod,
		ReleaseOnCancel: e.options.LeaderElectionReleaseOnCancel,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { note("leads") },
			OnStoppedLeading: func() { note("ends") },
		},
	})
}

// minute runs the replicas a and b for a minute, and returns who led.
func (e *election) minute(t *testing.T) []string {
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	group.Go(func() { e.run(ctx, "a") })
	time.Sleep(time.Second)
	group.Go(func() { e.run(ctx, "b") })
	time.Sleep(time.Minute)
	return e.seen()
}

func (e *election) seen() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]string(nil), e.log...)
}

// slowLock is a Lease behind a request that may hang and fail.
type slowLock struct {
	request func() error
	resourcelock.Interface
}

func (l *slowLock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	if err := l.request(); err != nil {
		return nil, nil, err
	}
	return l.Interface.Get(ctx)
}

func (l *slowLock) Update(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	if err := l.request(); err != nil {
		return err
	}
	return l.Interface.Update(ctx, r)
}

func newElection(t *testing.T) *election {
	t.Helper()
	e := &election{client: fake.NewClientset(), begin: time.Now(), request: func(string) error { return nil }}
	if err := ElectLeader(&e.options, &rest.Config{}, "fairlead-system", nil); err != nil {
		t.Fatal(err)
	}
	return e
}

// TestApiserverHangs answers no request for eight seconds: the leader goes on, and the
// other replica neither ends nor leads.
func TestApiserverHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newElection(t)
		from, until := 21*time.Second, 29*time.Second
		e.request = func(string) error {
			now := time.Since(e.begin)
			if now < from || now >= until {
				return nil
			}
			// The client of the election waits for half of renewDeadline.
			time.Sleep(min(renewDeadline/2, until-now))
			return errors.New("timeout")
		}
		if diff := cmp.Diff([]string{"a leads"}, e.minute(t)); diff != "" {
			t.Errorf("after %s (-want +got):\n%s", time.Since(e.begin), diff)
		}
	})
}

// TestPlannedHandover stops the leader in order: the other replica leads within retryPeriod,
// and not only when the Lease has expired.
func TestPlannedHandover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newElection(t)
		first, stop := context.WithCancel(t.Context())
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() { e.run(first, "a") })
		time.Sleep(time.Second)
		group.Go(func() { e.run(ctx, "b") })
		time.Sleep(time.Minute)
		stop()
		// client-go makes the pause up to 2.2 times as long, so that replicas do not meet.
		time.Sleep(retryPeriod * 22 / 10)
		if diff := cmp.Diff([]string{"a leads", "a ends", "b leads"}, e.seen()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		cancel()
		group.Wait()
	})
}

// TestLeaderIsCutOff lets no request of the leader through, for longer than a Lease lasts: it
// ends before another replica leads. Two that lead overwrite each other's slices.
func TestLeaderIsCutOff(t *testing.T) {
	for _, cut := range []time.Duration{20 * time.Second, 20*time.Second + 1900*time.Millisecond, 21 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			e := newElection(t)
			e.request = func(name string) error {
				if name == "b" || time.Since(e.begin) < cut {
					return nil
				}
				time.Sleep(renewDeadline / 2) // the client's timeout
				return errors.New("timeout")
			}
			if diff := cmp.Diff([]string{"a leads", "a ends", "b leads"}, e.minute(t)); diff != "" {
				t.Errorf("cut off after %s (-want +got):\n%s", cut, diff)
			}
		})
	}
}

// TestLeaseIsTaken gives the leader's Lease to another replica, as a backup from the time when that
// one led does: the leader ends when it learns that, and does not work on while it tries to renew it.
func TestLeaseIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newElection(t)
		ctx, cancel := context.WithCancel(t.Context())
		var modified atomic.Bool
		e.client.PrependReactor("update", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
			if !modified.Load() {
				return false, nil, nil
			}
			return true, nil, apierrors.NewConflict(coordinationv1.Resource("leases"), leaseName, errors.New("it was modified")) // a fake client has none
		})
		var group sync.WaitGroup
		defer group.Wait()
		defer cancel()
		group.Go(func() { e.run(ctx, "a") })
		time.Sleep(time.Minute + time.Second)
		leases := e.client.CoordinationV1().Leases(e.options.LeaderElectionNamespace)
		taken, err := leases.Get(ctx, e.options.LeaderElectionID, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		taken.Spec.HolderIdentity = ptr.To("b")
		if _, err := leases.Update(ctx, taken, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		modified.Store(true)
		time.Sleep(retryPeriod)
		if diff := cmp.Diff([]string{"a leads", "a ends"}, e.seen()); diff != "" {
			t.Errorf("%s after the Lease was taken (-want +got):\n%s", retryPeriod, diff)
		}
	})
}
