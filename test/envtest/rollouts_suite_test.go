// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/controllers/noderules"
	"github.com/fairlead-proxy/fairlead/controllers/proxyconfig"
	"github.com/fairlead-proxy/fairlead/controllers/revisions"
	"github.com/fairlead-proxy/fairlead/controllers/rollouts"
	"github.com/fairlead-proxy/fairlead/rules/rollout"
)

// fate is what a simulated agent does with a revision.
type fate int

const (
	verifies fate = iota
	reverts
	hangs
)

// staging is a ProxyConfig with the strategy Staged, its nodes with simulated agents, and all
// controllers that have a part in its rollouts. Each reconcile is that of a new process.
type staging struct {
	t      *testing.T
	view   *view
	clock  *clocktesting.FakeClock
	config *v1alpha1.ProxyConfig
	nodes  []string
	fates  map[string]map[string]fate // by label of the revision and node
	labels map[string]string          // of revisions: a digit

	// stale is what the cache has of NodeRuleSets and ProxyRollouts; nil: what the apiserver has.
	stale *cached

	given  map[string]int // how often a node was given a revision, by "node=label"
	events []string
}

// cached is what a cache had at some moment.
type cached struct {
	sets     v1alpha1.NodeRuleSetList
	rollouts v1alpha1.ProxyRolloutList
}

// newStaging has the nodes run a first revision, with the label 1.
func newStaging(t *testing.T, options v1alpha1.RolloutOptions, names ...string) *staging {
	t.Helper()
	deploy(t)
	s := &staging{t: t, view: newView(t), clock: clocktesting.NewFakeClock(time.Now().Truncate(time.Second)), nodes: names,
		fates: map[string]map[string]fate{}, labels: map[string]string{}, given: map[string]int{}}
	options.Strategy = v1alpha1.Staged
	s.config = policy("staged", "staged", 0)
	s.config.Spec.Rollout = options
	for _, name := range names {
		s.addNode(name)
	}
	create(t, s.config)
	t.Cleanup(s.cleanUp)
	s.labels[rollout.RevisionOf(s.config).Name] = "1"
	s.pass(time.Second)
	s.pass(time.Second)
	s.pass(time.Second)
	s.wants("", strings.Join(names, "=1+ ")+"=1+")
	if got := s.reload().Status.StableRevision; s.labels[got] != "1" {
		t.Fatalf("stable revision %q, want that with the label 1", got)
	}
	return s
}

func (s *staging) addNode(name string) {
	s.t.Helper()
	n := node(name)
	n.Labels["pool"] = "staged"
	create(s.t, n)
}

// cleanUp removes what a garbage collector would.
func (s *staging) cleanUp() {
	ctx := context.Background()
	var sets v1alpha1.NodeRuleSetList
	var all v1alpha1.ProxyRolloutList
	var stored appsv1.ControllerRevisionList
	for _, list := range []client.ObjectList{&sets, &all, &stored} {
		if err := api.List(ctx, list); err != nil {
			s.t.Error(err)
		}
	}
	var objs []client.Object
	for i := range sets.Items {
		if sets.Items[i].Spec.Policy.Name == s.config.Name {
			objs = append(objs, &sets.Items[i])
		}
	}
	for i := range all.Items {
		objs = append(objs, &all.Items[i])
	}
	for i := range stored.Items {
		if s.labels[stored.Items[i].Name] != "" {
			objs = append(objs, &stored.Items[i])
		}
	}
	for _, obj := range objs {
		if err := client.IgnoreNotFound(api.Delete(ctx, obj)); err != nil {
			s.t.Error(err)
		}
	}
}

// reload reads the ProxyConfig.
func (s *staging) reload() *v1alpha1.ProxyConfig {
	s.t.Helper()
	if err := api.Get(s.t.Context(), client.ObjectKeyFromObject(s.config), s.config); err != nil {
		s.t.Fatal(err)
	}
	return s.config
}

// change changes the ProxyConfig, and gives its revision a label.
func (s *staging) change(label string, change func(*v1alpha1.ProxyConfigSpec)) {
	s.t.Helper()
	change(&s.reload().Spec)
	update(s.t, s.config)
	s.labels[rollout.RevisionOf(s.config).Name] = label
}

// says changes the spec of the current ProxyRollout.
func (s *staging) says(change func(*v1alpha1.ProxyRolloutSpec)) {
	s.t.Helper()
	o := s.current()
	change(&o.Spec)
	update(s.t, o)
}

func state(to v1alpha1.RolloutState) func(*v1alpha1.ProxyRolloutSpec) {
	return func(s *v1alpha1.ProxyRolloutSpec) { s.State = to }
}

// current returns the ProxyRollout of the current revision; nil: there is none.
func (s *staging) current() *v1alpha1.ProxyRollout {
	s.t.Helper()
	return s.named(rollout.RevisionOf(s.reload()).Name)
}

func (s *staging) named(name string) *v1alpha1.ProxyRollout {
	s.t.Helper()
	o := &v1alpha1.ProxyRollout{}
	err := api.Get(s.t.Context(), client.ObjectKey{Name: name}, o)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return o
}

// labelled returns the name of the revision with a label.
func (s *staging) labelled(label string) string {
	for name, l := range s.labels {
		if l == label {
			return name
		}
	}
	s.t.Fatalf("no revision has the label %s", label)
	return ""
}

// cache returns the client that reads from the cache.
func (s *staging) cache() client.WithWatch {
	if s.stale == nil {
		return s.view
	}
	old := s.stale
	return interceptor.NewClient(s.view.WithWatch, interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			switch l := list.(type) {
			case *v1alpha1.NodeRuleSetList:
				*l = *old.sets.DeepCopy()
			case *v1alpha1.ProxyRolloutList:
				*l = *old.rollouts.DeepCopy()
			default:
				return c.List(ctx, list, opts...)
			}
			return nil
		},
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			set, ok := obj.(*v1alpha1.NodeRuleSet)
			if !ok {
				return c.Get(ctx, key, obj, opts...)
			}
			for i := range old.sets.Items {
				if old.sets.Items[i].Name == key.Name {
					*set = *old.sets.Items[i].DeepCopy()
					return nil
				}
			}
			return apierrors.NewNotFound(v1alpha1.GroupVersion.WithResource("noderulesets").GroupResource(), key.Name)
		},
	})
}

// remember has the cache miss what comes.
func (s *staging) remember() {
	s.t.Helper()
	s.stale = &cached{}
	for _, list := range []client.ObjectList{&s.stale.sets, &s.stale.rollouts} {
		if err := api.List(s.t.Context(), list); err != nil {
			s.t.Fatal(err)
		}
	}
}

// reconcile has new processes of all controllers reconcile once, and returns their errors.
func (s *staging) reconcile() []error {
	s.t.Helper()
	var errs []error
	recorder := events.NewFakeRecorder(100)
	cache := s.cache()
	n := &noderules.Reconciler{Client: cache, Live: api, Recorder: recorder, Clock: s.clock, Namespace: systemNamespace, Patience: time.Minute}
	do := func(r interface {
		Reconcile(context.Context, ctrl.Request) (ctrl.Result, error)
	}, name string) {
		if _, err := r.Reconcile(s.t.Context(), ctrl.Request{NamespacedName: client.ObjectKey{Name: name}}); err != nil {
			errs = append(errs, err)
		}
	}
	do(&revisions.Reconciler{Client: cache, Namespace: systemNamespace}, s.config.Name)
	for _, name := range s.nodes {
		do(n, name)
	}
	do(&rollouts.Reconciler{Client: cache, Live: api, Nodes: n, Recorder: recorder, Clock: s.clock, Patience: time.Minute}, s.config.Name)
	do(proxyconfig.New(cache, api, s.clock, 24*time.Hour), s.config.Name)
	for len(recorder.Events) > 0 {
		s.events = append(s.events, <-recorder.Events)
	}
	return errs
}

// pass passes some time, and has the controllers and then the agents act.
func (s *staging) pass(d time.Duration) {
	s.t.Helper()
	s.clock.Step(d)
	if errs := s.reconcile(); errs != nil {
		s.t.Fatal(errs)
	}
	s.agents()
}

// passes has the controllers and agents act some times, one second after the other.
func (s *staging) passes(n int) {
	s.t.Helper()
	for range n {
		s.pass(time.Second)
	}
}

// sets returns the NodeRuleSets by node.
func (s *staging) sets() map[string]*v1alpha1.NodeRuleSet {
	s.t.Helper()
	out := map[string]*v1alpha1.NodeRuleSet{}
	var list v1alpha1.NodeRuleSetList
	if err := api.List(s.t.Context(), &list); err != nil {
		s.t.Fatal(err)
	}
	for i := range list.Items {
		if slices.Contains(s.nodes, list.Items[i].Name) {
			out[list.Items[i].Name] = &list.Items[i]
		}
	}
	return out
}

// agents has the agents report what becomes of their revisions.
func (s *staging) agents() {
	s.t.Helper()
	for name, set := range s.sets() {
		of := &v1alpha1.RevisionStatus{Name: set.Spec.Revision, AssignedTime: set.Spec.AssignedTime}
		label := s.labels[set.Spec.Revision]
		if r := set.Status.Revision; r != nil && r.Name == of.Name && r.AssignedTime.Equal(of.AssignedTime) {
			if r.Phase == v1alpha1.RevisionVerified && set.Status.ObservedGeneration != set.Generation {
				set.Status.ObservedGeneration = set.Generation
				s.writeStatus(set)
			}
			continue
		}
		s.given[name+"="+label]++
		now := metav1.Time{Time: s.clock.Now()}
		switch s.fates[label][name] {
		case verifies:
			of.Phase, of.VerifiedTime = v1alpha1.RevisionVerified, &now
			set.Status.AppliedRevision, set.Status.Policy = set.Spec.Revision, &set.Spec.Policy
		case reverts:
			of.Phase, of.LastError = v1alpha1.RevisionReverted, "the kernel refuses it"
		case hangs:
			of.Phase = v1alpha1.RevisionPending
		}
		set.Status.Revision, set.Status.ObservedGeneration = of, set.Generation
		set.Status.Conditions = nil
		for kind, is := range map[string]metav1.ConditionStatus{"Accepted": "True", "Programmed": "True", "Degraded": "False"} {
			set.Status.Conditions = append(set.Status.Conditions,
				metav1.Condition{Type: kind, Status: is, Reason: "Reported", LastTransitionTime: now, ObservedGeneration: set.Generation})
		}
		s.writeStatus(set)
	}
}

func (s *staging) writeStatus(set *v1alpha1.NodeRuleSet) {
	s.t.Helper()
	if err := api.Status().Update(s.t.Context(), set); err != nil {
		s.t.Fatal(err)
	}
}

// nodesHave describes what the nodes have, for example "a=2+ b=1?": the label of the revision that
// each is to have, and whether it has verified it (+), failed it (x) or neither (?).
func (s *staging) nodesHave() string {
	s.t.Helper()
	var out []string
	sets := s.sets()
	for _, name := range slices.Sorted(maps.Keys(sets)) {
		set, mark := sets[name], "?"
		if r := set.Status.Revision; r != nil && r.Name == set.Spec.Revision && r.AssignedTime.Equal(set.Spec.AssignedTime) {
			switch r.Phase {
			case v1alpha1.RevisionVerified:
				mark = "+"
			case v1alpha1.RevisionReverted, v1alpha1.RevisionFailed:
				mark = "x"
			}
		}
		out = append(out, name+"="+s.labels[set.Spec.Revision]+mark)
	}
	return strings.Join(out, " ")
}

// wants checks where the rollout is ("": there is none) and what the nodes have.
func (s *staging) wants(where, nodes string) {
	s.t.Helper()
	got := ""
	if o := s.current(); o != nil {
		got = strings.TrimSpace(fmt.Sprintf("%s %s", o.Status.Phase, o.Status.Stage))
	}
	if diff := cmp.Diff([]string{where, nodes}, []string{got, s.nodesHave()}); diff != "" {
		s.t.Fatalf("rollout and nodes (-want +got):\n%s", diff)
	}
}

// setReady says whether a node is ready.
func (s *staging) setReady(name string, ready bool) {
	s.t.Helper()
	n := &corev1.Node{}
	if err := api.Get(s.t.Context(), client.ObjectKey{Name: name}, n); err != nil {
		s.t.Fatal(err)
	}
	n.Status.Conditions[0].Status = corev1.ConditionFalse
	if ready {
		n.Status.Conditions[0].Status = corev1.ConditionTrue
	}
	n.Status.Conditions[0].LastTransitionTime = metav1.Time{Time: s.clock.Now()}
	if err := api.Status().Update(s.t.Context(), n); err != nil {
		s.t.Fatal(err)
	}
}

// oneByOne is a canary that soaks for 30 seconds, and then one node after the other.
func oneByOne(change ...func(*v1alpha1.RolloutOptions)) v1alpha1.RolloutOptions {
	o := v1alpha1.RolloutOptions{Stages: []v1alpha1.RolloutStage{{Name: "canary", Nodes: number(1), SoakSeconds: ptr.To[int32](30)}}, MaxUnavailable: number(1)}
	for _, f := range change {
		f(&o)
	}
	return o
}

func objectKey(name string) client.ObjectKey { return client.ObjectKey{Name: name} }

// storedRevision reads a revision.
func storedRevision(t *testing.T, name string) *appsv1.ControllerRevision {
	t.Helper()
	r := &appsv1.ControllerRevision{}
	if err := api.Get(t.Context(), client.ObjectKey{Namespace: systemNamespace, Name: name}, r); err != nil {
		t.Fatal(err)
	}
	return r
}
