// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/controllers/revisions"
	"github.com/fairlead-proxy/fairlead/rules/rollout"
)

// history drives the reconciler of the revisions of one ProxyConfig, which selects the node n1.
type history struct {
	t *testing.T
	*view
	reconciler *revisions.Reconciler
	config     *v1alpha1.ProxyConfig
	labels     map[string]string // of the revisions, for example "a"
}

func newHistory(t *testing.T) *history {
	t.Helper()
	h := &history{t: t, view: newView(t), config: policy("history", "n1", 0), labels: map[string]string{}}
	h.reconciler = &revisions.Reconciler{Client: h.view, Namespace: systemNamespace}
	create(t, h.config)
	t.Cleanup(func() { // there is no garbage collector here
		for _, r := range h.stored() {
			if err := api.Delete(context.Background(), &r); err != nil {
				t.Error(err)
			}
		}
	})
	return h
}

// stored returns the revisions that have a label. Other tests have left others.
func (h *history) stored() []appsv1.ControllerRevision {
	h.t.Helper()
	var list appsv1.ControllerRevisionList
	err := api.List(context.Background(), &list, client.InNamespace(systemNamespace), client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ControllerName})
	if err != nil {
		h.t.Fatal(err)
	}
	ours := slices.DeleteFunc(list.Items, func(r appsv1.ControllerRevision) bool { return h.labels[r.Name] == "" })
	slices.SortFunc(ours, func(a, b appsv1.ControllerRevision) int { return int(a.Revision - b.Revision) })
	return ours
}

// change changes the spec, and gives its revision a label.
func (h *history) change(label string, change func(*v1alpha1.ProxyConfigSpec)) {
	h.t.Helper()
	change(&h.config.Spec)
	update(h.t, h.config)
	h.labels[rollout.RevisionOf(h.config).Name] = label
}

// wants reconciles and checks the writes, and the revisions in their order, with their numbers.
func (h *history) wants(writes, want string) {
	h.t.Helper()
	h.writes = nil
	_, err := h.reconciler.Reconcile(h.t.Context(), ctrl.Request{NamespacedName: client.ObjectKey{Name: "history"}})
	if err != nil {
		h.t.Fatal(err)
	}
	var done, got []string
	for _, w := range h.writes {
		verb, name, _ := strings.Cut(w, " ")
		done = append(done, verb+" "+h.labels[name])
	}
	if diff := cmp.Diff(writes, strings.Join(done, ", ")); diff != "" {
		h.t.Errorf("writes (-want +got):\n%s", diff)
	}
	for _, r := range h.stored() {
		got = append(got, fmt.Sprintf("%s=%d", h.labels[r.Name], r.Revision))
	}
	if diff := cmp.Diff(want, strings.Join(got, " ")); diff != "" {
		h.t.Errorf("revisions (-want +got):\n%s", diff)
	}
}

func mode(m v1alpha1.ProxyMode) func(*v1alpha1.ProxyConfigSpec) {
	return func(s *v1alpha1.ProxyConfigSpec) { s.Mode = m }
}

// TestRevisionLifecycle follows the revisions of a ProxyConfig while it changes.
func TestRevisionLifecycle(t *testing.T) {
	deploy(t)
	h := newHistory(t)
	limit := func(n int32) func(*v1alpha1.ProxyConfigSpec) {
		return func(s *v1alpha1.ProxyConfigSpec) { s.RevisionHistoryLimit = &n }
	}
	h.change("a", mode(v1alpha1.ModeNFTables))
	h.wants("apply a", "a=1")
	h.wants("", "a=1")
	first := h.stored()[0]
	if owner := metav1.GetControllerOf(&first); owner == nil || owner.UID != h.config.UID || owner.Kind != "ProxyConfig" {
		t.Errorf("the garbage collector does not find it: owner %v", owner)
	}
	h.change("a", func(s *v1alpha1.ProxyConfigSpec) { s.MassRemoval.MaxPercent = 10; *s.Priority = 5 }) // not the nodes' policy
	h.wants("", "a=1")
	h.change("b", mode(v1alpha1.ModeIPTables))
	h.wants("apply b", "a=1 b=2")
	h.change("c", mode(v1alpha1.ModeUserspace))
	h.wants("apply c", "a=1 b=2 c=3")
	h.change("a", mode(v1alpha1.ModeNFTables))
	h.wants("apply a", "b=2 c=3 a=4")
	if back := h.stored()[2]; back.UID != first.UID || string(back.Data.Raw) != string(first.Data.Raw) {
		t.Errorf("it is another one: %s", back.Data.Raw)
	}
	h.wants("", "b=2 c=3 a=4")

	// Of those that no node uses, the limit says how many stay.
	create(t, node("n1"))
	set := &v1alpha1.NodeRuleSet{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Spec: v1alpha1.NodeRuleSetSpec{
		Policy: v1alpha1.PolicyReference{Name: "history", Generation: 1}, Mode: v1alpha1.ModeIPTables, Revision: h.stored()[0].Name,
		Node: v1alpha1.NodeFacts{Zone: "a"}}}
	create(t, set)
	h.change("a", limit(0))
	h.wants("delete c", "b=2 a=4")
	set.Spec.Revision = h.stored()[1].Name
	update(t, set)
	set.Status.AppliedRevision = h.stored()[0].Name // what its kernel has
	if err := api.Status().Update(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	h.wants("", "b=2 a=4")
	remove(t, set)
	h.config.Status.StableRevision = h.stored()[0].Name
	if err := api.Status().Update(t.Context(), h.config); err != nil {
		t.Fatal(err)
	}
	h.wants("", "b=2 a=4")
	h.config.Status.StableRevision = ""
	if err := api.Status().Update(t.Context(), h.config); err != nil {
		t.Fatal(err)
	}
	h.wants("delete b", "a=4")

	// One that was deleted by hand, and one of an earlier ProxyConfig of the same name.
	remove(t, &h.stored()[0])
	h.wants("apply a", "a=1")
	remove(t, h.config)
	h.wants("", "a=1")
	h.config = policy("history", "n1", 0)
	create(t, h.config)
	h.wants("apply a", "a=1")
	if again := h.stored()[0]; len(again.OwnerReferences) != 1 || again.OwnerReferences[0].UID != h.config.UID {
		t.Errorf("owners %v", again.OwnerReferences)
	}
}

// TestRevisionsOfOthers checks that other ControllerRevisions, and those of other ProxyConfigs, stay.
func TestRevisionsOfOthers(t *testing.T) {
	deploy(t)
	h := newHistory(t)
	h.change("a", func(s *v1alpha1.ProxyConfigSpec) { s.RevisionHistoryLimit = new(int32) })
	h.wants("apply a", "a=1")
	other := policy("other", "n2", 0)
	create(t, other)
	theirs := &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: "theirs", Labels: map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ControllerName},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: v1alpha1.GroupVersion.String(), Kind: "ProxyConfig", Name: other.Name, UID: other.UID}}},
		Data: runtime.RawExtension{Raw: []byte(`{}`)}, Revision: 7,
	}
	if err := api.Create(t.Context(), theirs); err != nil { // the history removes it
		t.Fatal(err)
	}
	h.labels["theirs"] = "theirs"
	h.change("b", mode(v1alpha1.ModeIPTables))
	h.wants("apply b, delete a", "b=2 theirs=7")
}

// TestRevisionRestores checks that the data, as the apiserver returns it, is the policy.
func TestRevisionRestores(t *testing.T) {
	deploy(t)
	h := newHistory(t)
	h.change("a", func(s *v1alpha1.ProxyConfigSpec) {
		s.Mode, s.IPVS = v1alpha1.ModeIPVS, &v1alpha1.IPVSOptions{Scheduler: "mh", SchedulerFlags: []string{"mh-port", "mh-fallback"}, ExcludeCIDRs: []string{"192.0.2.0/24"}}
		s.NodePort.Addresses = []string{"Primary", "198.51.100.0/24"}
	})
	h.wants("apply a", "a=1")
	stored := h.stored()[0]
	if want := rollout.RevisionOf(h.config); string(stored.Data.Raw) != string(want.Data) {
		t.Errorf("the apiserver has changed the data:\n%s\n%s", stored.Data.Raw, want.Data)
	}
	restored := &v1alpha1.ProxyConfig{}
	if err := json.Unmarshal(stored.Data.Raw, restored); err != nil {
		t.Fatal(err)
	}
	want := h.config.Spec.DeepCopy()
	want.NodeSelector, want.Priority, want.RevisionHistoryLimit, want.Rollout = nil, nil, nil, v1alpha1.RolloutOptions{}
	want.MassRemoval, want.DeletionPolicy = v1alpha1.MassRemovalOptions{}, ""
	if diff := cmp.Diff(*want, restored.Spec); diff != "" {
		t.Errorf("policy (-want +got):\n%s", diff)
	}
	restored.Name = "restored"
	restored.Spec.NodeSelector = h.config.Spec.NodeSelector
	create(t, restored) // the apiserver accepts it
	restored = restored.DeepCopy()
	restored.Name = h.config.Name
	if got := rollout.RevisionOf(restored).Name; got != stored.Name {
		t.Errorf("the revision of what was restored is %s, want %s", got, stored.Name)
	}
}

// TestOlderNodeRuleSet checks that a NodeRuleSet of an older controller gets its revision, and
// that nothing else in it changes.
func TestOlderNodeRuleSet(t *testing.T) {
	n := newNodes(t)
	config := policy("default", "n1", 0)
	create(t, node("n1"), config)
	n.wantWrites("n1", "apply n1")
	want := ruleSet(t, "n1")
	if revision := rollout.RevisionOf(config).Name; want.Spec.Revision != revision {
		t.Errorf("revision %q, want %q", want.Spec.Revision, revision)
	}
	older := want.DeepCopy()
	older.Spec.Revision = ""
	update(t, older)
	n.wantWrites("n1", "apply n1")
	if diff := cmp.Diff(want.Spec, ruleSet(t, "n1").Spec); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
	n.wantWrites("n1")
}

// TestStolenControllerTokenRevisions has the controller's identity try to write what others make
// Pods of. By RBAC it has all rights here; OLM grants what the bundle asks for in all namespaces.
func TestStolenControllerTokenRevisions(t *testing.T) {
	deploy(t)
	ns := namespace(t)
	config := policy("default", "none", 0)
	create(t, config)
	ours := []metav1.OwnerReference{{APIVersion: v1alpha1.GroupVersion.String(), Kind: "ProxyConfig", Name: config.Name, UID: config.UID}}
	theirs := []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "DaemonSet", Name: "fairlead-agent", UID: "uid"}}
	revision := func(namespace string, owners ...metav1.OwnerReference) *appsv1.ControllerRevision {
		return &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "r-", OwnerReferences: owners},
			Data: runtime.RawExtension{Raw: []byte(`{}`)}}
	}
	admin := administrator(t)
	existing := func(namespace string, owners ...metav1.OwnerReference) *appsv1.ControllerRevision {
		t.Helper()
		r := revision(namespace, owners...)
		if err := admin.Create(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := client.IgnoreNotFound(admin.Delete(context.Background(), r)); err != nil {
				t.Error(err)
			}
		})
		return r
	}
	const elsewhere, foreign = "in the namespace fairlead-system only", "of ProxyConfigs only"
	write := func(r *appsv1.ControllerRevision, owners ...metav1.OwnerReference) func() error {
		return func() error {
			r := r.DeepCopy()
			r.OwnerReferences, r.Revision = owners, 9
			return api.Update(t.Context(), r, client.DryRunAll)
		}
	}
	post := func(r *appsv1.ControllerRevision) func() error {
		return func() error { return api.Create(t.Context(), r.DeepCopy(), client.DryRunAll) }
	}
	end := func(r *appsv1.ControllerRevision) func() error {
		return func() error { return api.Delete(t.Context(), r, client.DryRunAll) }
	}
	for name, c := range map[string]struct {
		do   func() error
		want string // empty: it is allowed
	}{
		"create its own":                 {post(revision(systemNamespace, ours...)), ""},
		"create elsewhere":               {post(revision(ns, ours...)), elsewhere},
		"create of a DaemonSet":          {post(revision(systemNamespace, theirs...)), foreign},
		"create of both":                 {post(revision(systemNamespace, slices.Concat(ours, theirs)...)), foreign},
		"create without owner":           {post(revision(systemNamespace)), foreign},
		"change its own":                 {write(existing(systemNamespace, ours...), ours...), ""},
		"give its own to a DaemonSet":    {write(existing(systemNamespace, ours...), theirs...), foreign},
		"take a DaemonSet's":             {write(existing(systemNamespace, theirs...), ours...), foreign},
		"change one without an owner":    {write(existing(systemNamespace), ours...), foreign},
		"change elsewhere":               {write(existing(ns, ours...), ours...), elsewhere},
		"delete its own":                 {end(existing(systemNamespace, ours...)), ""},
		"delete a DaemonSet's":           {end(existing(systemNamespace, theirs...)), foreign},
		"delete one without an owner":    {end(existing(systemNamespace)), foreign},
		"delete a StatefulSet's, others": {end(existing(ns, theirs...)), elsewhere},
	} {
		t.Run(name, func(t *testing.T) {
			// The policies take effect after a moment.
			eventually(t, "the answer "+c.want, func(context.Context) bool {
				err := c.do()
				return err == nil == (c.want == "") && (err == nil || apierrors.IsForbidden(err) && strings.Contains(err.Error(), c.want))
			})
		})
	}
}
