// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rollouts

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/controllers/internal/apitest"
	"github.com/fairlead-proxy/fairlead/rules/rollout"
)

var errRefused = errors.New("refused")

// failing is a ProxyConfig with a changed policy, its nodes, and an API each call of which may fail.
type failing struct {
	t        *testing.T
	api      client.WithWatch
	clock    *clocktesting.FakePassiveClock
	calls    int
	fails    int // the call that fails
	failures int // that a reconcile has returned
	assigned []string
	config   *v1alpha1.ProxyConfig
}

func newFailing(t *testing.T, fails int) *failing {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	w := &failing{t: t, clock: clocktesting.NewFakePassiveClock(now), fails: fails}
	seconds := int32(1)
	one := v1alpha1.RolloutStage{Name: "canary", SoakSeconds: &seconds}
	one.NodeSelector = &v1alpha1.NodeSelector{MatchLabels: map[string]v1alpha1.LabelValue{"name": "a"}}
	w.config = &v1alpha1.ProxyConfig{ObjectMeta: metav1.ObjectMeta{Name: "config", UID: "1"}, Spec: v1alpha1.ProxyConfigSpec{
		Mode: v1alpha1.ModeIPTables, Rollout: v1alpha1.RolloutOptions{Strategy: v1alpha1.Staged, Stages: []v1alpha1.RolloutStage{one}}}}
	objs := []client.Object{w.config}
	for _, name := range []string{"a", "b", "c"} {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"name": name}}}
		node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
		set := &v1alpha1.NodeRuleSet{ObjectMeta: metav1.ObjectMeta{Name: name}}
		set.Spec.Policy.Name = "config"
		give(set, "config-0", now.Add(-time.Hour))
		objs = append(objs, node, set)
	}
	w.api = fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&v1alpha1.ProxyRollout{}).WithObjects(objs...).Build()
	return w
}

// give has a node be given a revision, and verify it.
func give(set *v1alpha1.NodeRuleSet, revision string, at time.Time) {
	since := metav1.Time{Time: at}
	set.Spec.Revision, set.Spec.AssignedTime = revision, &since
	set.Status.Revision = &v1alpha1.RevisionStatus{Name: revision, AssignedTime: &since, Phase: v1alpha1.RevisionVerified, VerifiedTime: &since}
}

// next counts a call, and fails one.
func (w *failing) next() error {
	if w.calls++; w.calls-1 == w.fails {
		return errRefused
	}
	return nil
}

func (w *failing) Usable(context.Context, *v1alpha1.ProxyConfig, string) (problem, err error) {
	if err := w.next(); err != nil {
		return nil, fmt.Errorf("get: %w", err)
	}
	return nil, nil
}

func (w *failing) Assign(ctx context.Context, node *corev1.Node, _ *v1alpha1.ProxyConfig, current *v1alpha1.NodeRuleSet, revision string, since metav1.Time) error {
	if err := w.next(); err != nil {
		return fmt.Errorf("assign: %w", err)
	}
	w.assigned = append(w.assigned, node.Name+"="+revision)
	set := current.DeepCopy()
	give(set, revision, since.Time)
	return w.api.Update(ctx, set)
}

// rollOut reconciles until the rollout has succeeded. Each time it is another controller.
func (w *failing) rollOut() {
	w.t.Helper()
	name := rollout.RevisionOf(w.config).Name
	for range 100 {
		c := interceptor.NewClient(w.api, apitest.Failing(w.next))
		r := &Reconciler{Client: c, Live: c, Nodes: w, Recorder: events.NewFakeRecorder(100), Clock: w.clock, Patience: time.Minute}
		if _, err := r.Reconcile(w.t.Context(), ctrl.Request{NamespacedName: client.ObjectKey{Name: "config"}}); err != nil {
			w.failures++
			if !errors.Is(err, errRefused) || err.Error() == errRefused.Error() {
				w.t.Errorf("call %d: %v", w.fails, err)
			}
		}
		w.clock.SetTime(w.clock.Now().Add(time.Second))
		o := &v1alpha1.ProxyRollout{}
		if err := w.api.Get(w.t.Context(), client.ObjectKey{Name: name}, o); err == nil && o.Status.Phase == v1alpha1.RolloutSucceeded {
			return
		}
	}
	w.t.Fatalf("call %d: the rollout does not end: %v", w.fails, w.assigned)
}

// TestEachCallFails has one call after the other fail once: that is returned, and the rollout goes on
// without a node that is left out, or is given the revision twice.
func TestEachCallFails(t *testing.T) {
	right := newFailing(t, -1)
	right.rollOut()
	to := rollout.RevisionOf(right.config).Name
	want := []string{"a=" + to, "b=" + to, "c=" + to}
	if diff := cmp.Diff(want, right.assigned); diff != "" {
		t.Fatalf("assigned (-want +got):\n%s", diff)
	}
	for k := range right.calls {
		t.Run(fmt.Sprint(k), func(t *testing.T) {
			w := newFailing(t, k)
			w.rollOut()
			if diff := cmp.Diff(want, w.assigned); diff != "" || w.failures != 1 {
				t.Errorf("%d failures, assigned (-want +got):\n%s", w.failures, diff)
			}
		})
	}
}
