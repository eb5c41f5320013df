// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rollouts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	apiac "github.com/fairlead-proxy/fairlead/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/controllers/ssa"
)

// objects are those of a cluster: the ProxyConfig, two nodes with the revision before, and what each
// case adds or changes.
func objects(change func(*v1alpha1.ProxyConfig, []*v1alpha1.NodeRuleSet), more ...client.Object) []client.Object {
	config, _ := staged()
	config.Spec.NodeSelector = &v1alpha1.NodeSelector{}
	var sets []*v1alpha1.NodeRuleSet
	out := []client.Object{config}
	for _, name := range []string{"a", "b"} {
		set := &v1alpha1.NodeRuleSet{ObjectMeta: metav1.ObjectMeta{Name: name, Generation: 1},
			Spec: v1alpha1.NodeRuleSetSpec{Policy: v1alpha1.PolicyReference{Name: "default"}, Revision: "before"}}
		sets = append(sets, set)
		out = append(out, set, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name},
			Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}}})
	}
	if change != nil {
		change(config, sets)
	}
	return append(out, more...)
}

// ours is a rollout of the ProxyConfig to its revision.
func ours(change func(*v1alpha1.ProxyRollout)) *v1alpha1.ProxyRollout {
	s, target := world()
	s.run(target, func(o *v1alpha1.ProxyRollout) {
		o.UID = "rollout"
		o.Labels = map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ControllerName}
		o.OwnerReferences = []metav1.OwnerReference{{UID: "uid", Controller: ptr.To(true)}}
		if change != nil {
			change(o)
		}
	})
	return s.rollouts[0]
}

// api is what a case reads, whose lists of a kind fail, and what it writes.
type api struct {
	objects []client.Object
	refused string
	write   error
	got     []string
	target  string
}

func (a *api) client(t *testing.T) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	builder := fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&v1alpha1.ProxyRollout{})
	for _, o := range a.objects {
		builder = builder.WithObjects(o.DeepCopyObject().(client.Object))
	}
	note := func(format string, args ...any) error {
		a.got = append(a.got, fmt.Sprintf(format, args...))
		return a.write
	}
	called := func(name string) string {
		if name == a.target {
			return "new"
		}
		return name
	}
	return interceptor.NewClient(builder.Build(), interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			if fmt.Sprintf("%T", list) == a.refused {
				return errors.New("no answer")
			}
			return c.List(ctx, list, opts...)
		},
		Create: func(_ context.Context, _ client.WithWatch, obj client.Object, _ ...client.CreateOption) error {
			config, _ := staged()
			owner := obj.GetOwnerReferences()
			if !ssa.IsOurs(obj, config) || len(owner) != 1 || owner[0].Kind != "ProxyConfig" || owner[0].Name != "default" || owner[0].BlockOwnerDeletion != nil ||
				obj.GetLabels()["app.kubernetes.io/name"] != "fairlead" {
				t.Errorf("creates %+v", obj)
			}
			return note("create %s", called(obj.GetName()))
		},
		Delete: func(_ context.Context, _ client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
			uid := (&client.DeleteOptions{}).ApplyOptions(opts).Preconditions.UID
			return note("delete %s %s", called(obj.GetName()), *uid)
		},
		SubResourceApply: func(_ context.Context, _ client.Client, sub string, obj runtime.ApplyConfiguration, _ ...client.SubResourceApplyOption) error {
			o := obj.(*apiac.ProxyRolloutApplyConfiguration)
			if sub != "status" || o.UID == nil || *o.UID != "rollout" || o.ResourceVersion == nil {
				t.Errorf("writes %q of any object of the name: %+v", sub, o)
				return nil
			}
			return note("%s is %s", called(*o.Name), *o.Status.Phase)
		},
	})
}

// TestReconcile checks what is written for what is read: what decides is read from the apiserver, and
// the cache may be behind.
func TestReconcile(t *testing.T) {
	_, target := staged()
	base := objects(nil)
	running := objects(nil, ours(nil))
	noAnswer := errors.New("no answer")
	gone := apierrors.NewNotFound(schema.GroupResource{Resource: "proxyrollouts"}, target)
	superseded := objects(nil, ours(supersededBefore))
	allHave := objects(func(_ *v1alpha1.ProxyConfig, sets []*v1alpha1.NodeRuleSet) {
		for _, set := range sets {
			set.Spec.Revision = target
		}
	})
	const create, first, gives = "create new", "new is Updating", "a of default: before to new at 0"
	for name, c := range map[string]struct {
		cached, live []client.Object // live nil: the same
		refused      string          // the list of the cache
		refusedLive  string
		write        error
		nodes        error
		want         []string
		again        time.Duration
		event        bool
		fails        bool
	}{
		"nothing is there":        {},
		"the ProxyConfig is gone": {cached: base[1:]},
		"another one":             {cached: objects(func(c *v1alpha1.ProxyConfig, _ []*v1alpha1.NodeRuleSet) { c.Name = "other" })},
		"it is being deleted": {cached: objects(func(c *v1alpha1.ProxyConfig, _ []*v1alpha1.NodeRuleSet) {
			c.DeletionTimestamp, c.Finalizers = ago(1), []string{"f"}
		})},
		"at once, and none is there":      {cached: objects(func(c *v1alpha1.ProxyConfig, _ []*v1alpha1.NodeRuleSet) { c.Spec.Rollout.Strategy = v1alpha1.AllAtOnce })},
		"a new revision":                  {cached: base, want: []string{create}, again: period},
		"it is known to the apiserver":    {cached: base, live: running, want: []string{first, gives}, again: period, event: true},
		"all have it, says the apiserver": {cached: base, live: allHave},
		"it is gone, says the apiserver":  {cached: base, live: base[1:]},
		"nodes of another policy": {cached: objects(func(_ *v1alpha1.ProxyConfig, s []*v1alpha1.NodeRuleSet) {
			s[0].Spec.Policy.Name = "x"
			s[1].Spec.Policy.Name = "x"
		})},
		"one runs":                         {cached: running, want: []string{first, gives}, again: period, event: true},
		"one of another owner":             {cached: objects(nil, ours(func(o *v1alpha1.ProxyRollout) { o.OwnerReferences[0].UID = "other" })), want: []string{create}, again: period},
		"one that is being deleted":        {cached: objects(nil, ours(func(o *v1alpha1.ProxyRollout) { o.DeletionTimestamp, o.Finalizers = ago(1), []string{"f"} })), want: []string{create}, again: period},
		"an older one is superseded":       {cached: superseded, want: []string{"delete new rollout"}, again: period},
		"it is gone when it is deleted":    {cached: superseded, write: gone, want: []string{"delete new rollout"}, again: period},
		"it cannot be deleted":             {cached: superseded, write: noAnswer, want: []string{"delete new rollout"}, fails: true},
		"it cannot be created":             {cached: base, write: noAnswer, want: []string{create}, fails: true},
		"its status cannot be written":     {cached: running, write: noAnswer, want: []string{first}, fails: true},
		"a node cannot be given it":        {cached: running, nodes: noAnswer, want: []string{first}, event: true, fails: true},
		"no ProxyConfigs":                  {cached: base, refused: "*v1alpha1.ProxyConfigList", fails: true},
		"no ProxyRollouts":                 {cached: base, refused: "*v1alpha1.ProxyRolloutList", fails: true},
		"no Nodes":                         {cached: base, refused: "*v1.NodeList", fails: true},
		"no NodeRuleSets":                  {cached: base, refused: "*v1alpha1.NodeRuleSetList", fails: true},
		"no heartbeats":                    {cached: base, refused: "*v1alpha1.NodeHeartbeatList", fails: true},
		"the apiserver does not answer":    {cached: base, refusedLive: "*v1alpha1.NodeRuleSetList", fails: true},
		"it has no ProxyConfigs to answer": {cached: base, refusedLive: "*v1alpha1.ProxyConfigList", fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			if c.live == nil {
				c.live = c.cached
			}
			cached := &api{objects: c.cached, refused: c.refused, write: c.write, target: target}
			live := &api{objects: c.live, refused: c.refusedLive, target: target}
			recorder := events.NewFakeRecorder(10)
			nodes := &nodesFake{err: c.nodes}
			r := &Reconciler{Client: cached.client(t), Live: live.client(t), Nodes: nodes, Recorder: recorder,
				Clock: clocktesting.NewFakePassiveClock(now.Add(time.Millisecond)), Patience: time.Minute}
			result, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKey{Name: "default"}})
			got := cached.got
			for _, text := range nodes.assigned {
				got = append(got, text[:len(text)-len(target+" at 0")]+"new at 0")
			}
			if diff := cmp.Diff(c.want, got); diff != "" || len(live.got) > 0 {
				t.Errorf("writes (-want +got):\n%s", diff)
			}
			if (err != nil) != c.fails || result.RequeueAfter != c.again {
				t.Errorf("error %v, again after %s", err, result.RequeueAfter)
			}
			if n := len(recorder.Events); (n == 1) != c.event || n > 1 {
				t.Errorf("%d events", n)
			}
		})
	}
}

// TestApply checks which changes of a status are written, and which are events.
func TestApply(t *testing.T) {
	for name, c := range map[string]struct {
		change         func(*v1alpha1.ProxyRolloutStatus)
		written, event bool
	}{
		"nothing":     {func(*v1alpha1.ProxyRolloutStatus) {}, false, false},
		"the phase":   {func(s *v1alpha1.ProxyRolloutStatus) { s.Phase = v1alpha1.RolloutSoaking }, true, true},
		"the stage":   {func(s *v1alpha1.ProxyRolloutStatus) { s.Stage = "two" }, true, true},
		"the verdict": {func(s *v1alpha1.ProxyRolloutStatus) { s.Verdict = v1alpha1.VerdictFailed }, true, false},
		"its counts": {func(s *v1alpha1.ProxyRolloutStatus) {
			s.Stages = []v1alpha1.RolloutStageStatus{{Name: "one", Total: 1}}
		}, true, false},
		"a condition": {func(s *v1alpha1.ProxyRolloutStatus) {
			apimeta.SetStatusCondition(&s.Conditions, metav1.Condition{Type: "Soaked", Status: metav1.ConditionTrue, Reason: "R"})
		}, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			o := ours(func(o *v1alpha1.ProxyRollout) { o.ResourceVersion = "7" })
			a := &api{}
			recorder := events.NewFakeRecorder(10)
			r := &Reconciler{Client: a.client(t), Recorder: recorder}
			u := update{o, *o.Status.DeepCopy()}
			c.change(&u.status)
			if err := r.apply(t.Context(), u); err != nil {
				t.Fatal(err)
			}
			if (len(a.got) == 1) != c.written || (len(recorder.Events) == 1) != c.event {
				t.Errorf("writes %q, %d events", a.got, len(recorder.Events))
			}
		})
	}
}

// TestDecides checks which steps must not be taken by what the cache shows.
func TestDecides(t *testing.T) {
	o := ours(nil)
	status := func(change func(*v1alpha1.ProxyRolloutStatus)) step {
		u := update{o, *o.Status.DeepCopy()}
		change(&u.status)
		return step{status: []update{u}}
	}
	for name, c := range map[string]struct {
		step step
		want bool
	}{
		"nothing":                  {step{again: period}, false},
		"one is created":           {step{create: "x"}, true},
		"one is removed":           {step{remove: []*v1alpha1.ProxyRollout{o}}, true},
		"a node gets a revision":   {step{assign: map[string]string{"a": "x"}}, true},
		"the phase changes":        {status(func(s *v1alpha1.ProxyRolloutStatus) { s.Phase = v1alpha1.RolloutSoaking }), false},
		"a verdict":                {status(func(s *v1alpha1.ProxyRolloutStatus) { s.Verdict = v1alpha1.VerdictFailed }), true},
		"it begins":                {status(func(s *v1alpha1.ProxyRolloutStatus) { s.ToRevision = "x" }), true},
		"no verdict any more, too": {status(func(s *v1alpha1.ProxyRolloutStatus) { s.Verdict, s.ToRevision = "x", "x" }), true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.step.decides(); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

// TestReport checks the whole status of a rollout that a node has failed.
func TestReport(t *testing.T) {
	s, target := world()
	s.give(0, target, 90, 0)
	s.members[0].Reverted = true
	s.sets["a"].Status.Revision = &v1alpha1.RevisionStatus{Name: target, Phase: v1alpha1.RevisionReverted, LastError: "no"}
	s.run(target, nil)
	n, err := (&Reconciler{Nodes: &nodesFake{}}).next(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(n.status[0].status.FailedNodes)
	if want := `[{"name":"a","reason":"Reverted","message":"no"}]`; err != nil || string(text) != want {
		t.Errorf("failed: %s, want %s (%v)", text, want, err)
	}
	got := map[string]string{}
	for _, c := range n.status[0].status.Conditions {
		got[c.Type] = fmt.Sprintf("%s %s at %d", c.Status, c.Reason, c.LastTransitionTime.Unix()-now.Unix())
		if c.ObservedGeneration != 3 && c.Type != v1alpha1.ConditionPrechecked {
			t.Errorf("%s is of the generation %d", c.Type, c.ObservedGeneration)
		}
	}
	want := map[string]string{"Prechecked": "True Fits at -500", "Progressing": "False RollingBack at 0", "Soaked": "False RollingBack at 0",
		"Succeeded": "False Failed at 0", "RolledBack": "False RollingBack at 0"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("conditions (-want +got):\n%s", diff)
	}
}
