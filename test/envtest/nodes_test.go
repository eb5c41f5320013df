// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/controllers/noderules"
	"github.com/fairlead-proxy/fairlead/controllers/proxyconfig"
	"github.com/fairlead-proxy/fairlead/rules/rollout"
)

func node(name string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelTopologyZone: "a", corev1.LabelOSStable: "linux", "pool": name}},
		Spec:       corev1.NodeSpec{PodCIDR: "10.244.1.0/24", PodCIDRs: []string{"10.244.1.0/24", "fd00:1::/64"}},
		Status: corev1.NodeStatus{
			Addresses: []corev1.NodeAddress{
				{Type: corev1.NodeExternalIP, Address: "203.0.113.7"},
				{Type: corev1.NodeInternalIP, Address: "192.0.2.7"},
				{Type: corev1.NodeHostName, Address: name},
			},
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		},
	}
}

// policy selects one node. What it changes reaches it at once: rollouts have tests of their own.
func policy(name, node string, priority int32) *v1alpha1.ProxyConfig {
	return &v1alpha1.ProxyConfig{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.ProxyConfigSpec{
			NodeSelector: &v1alpha1.NodeSelector{MatchLabels: map[string]v1alpha1.LabelValue{"pool": v1alpha1.LabelValue(node)}},
			Priority:     &priority,
			Mode:         v1alpha1.ModeNFTables,
			Rollout:      v1alpha1.RolloutOptions{Strategy: v1alpha1.AllAtOnce},
		},
	}
}

// nodes drives the reconciler of nodes.
type nodes struct {
	t *testing.T
	*view
	*noderules.Reconciler
	events *events.FakeRecorder
	clock  *clocktesting.FakePassiveClock
}

func newNodes(t *testing.T) *nodes {
	v := newView(t)
	// There is no garbage collector here.
	cleanUp(t, &v1alpha1.NodeRuleSet{ObjectMeta: metav1.ObjectMeta{Name: "n1"}})
	recorder, clk := events.NewFakeRecorder(10), clocktesting.NewFakePassiveClock(time.Unix(1_700_000_000, 0))
	return &nodes{t: t, view: v, events: recorder, clock: clk,
		Reconciler: &noderules.Reconciler{Client: v, Live: api, Recorder: recorder, Clock: clk, Patience: 2 * time.Minute}}
}

func (n *nodes) try(name string) error {
	n.t.Helper()
	n.writes = nil
	_, err := n.Reconcile(n.t.Context(), ctrl.Request{NamespacedName: client.ObjectKey{Name: name}})
	return err
}

func (n *nodes) wantWrites(name string, want ...string) {
	n.t.Helper()
	if err := n.try(name); err != nil {
		n.t.Fatal(err)
	}
	if diff := cmp.Diff(want, n.writes); diff != "" {
		n.t.Errorf("writes (-want +got):\n%s", diff)
	}
}

func ruleSet(t *testing.T, name string) *v1alpha1.NodeRuleSet {
	t.Helper()
	set := &v1alpha1.NodeRuleSet{}
	if err := api.Get(t.Context(), client.ObjectKey{Name: name}, set); err != nil {
		t.Fatal(err)
	}
	return set
}

func update(t *testing.T, obj client.Object) {
	t.Helper()
	if err := api.Update(t.Context(), obj); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, obj client.Object) {
	t.Helper()
	if err := api.Delete(t.Context(), obj); err != nil {
		t.Fatal(err)
	}
}

func TestNodeLifecycle(t *testing.T) {
	n := newNodes(t)
	machine, silver, gold := node("n1"), policy("silver", "n1", 0), policy("gold", "n1", 5)
	silver.Spec.MassRemoval.MaxPercent = 25
	create(t, machine)
	n.wantWrites("n1")
	create(t, silver)
	n.wantWrites("n1", "apply n1")
	set := ruleSet(t, "n1")
	want := v1alpha1.NodeRuleSetSpec{
		Policy:   v1alpha1.PolicyReference{Name: "silver", Generation: silver.Generation},
		Revision: rollout.RevisionOf(silver).Name,
		Mode:     v1alpha1.ModeNFTables,
		Node: v1alpha1.NodeFacts{Zone: "a", Addresses: []string{"192.0.2.7", "203.0.113.7"},
			PodCIDRs: []string{"10.244.1.0/24", "fd00:1::/64"}},
		SessionAffinity: silver.Spec.SessionAffinity,
		NodePort:        silver.Spec.NodePort,
		ExternalIPs:     v1alpha1.ExternalIPOptions{Policy: v1alpha1.ExternalIPDeny},
		Masquerade:      silver.Spec.Masquerade,
		Conntrack:       silver.Spec.Conntrack,
		LocalTraffic:    silver.Spec.LocalTraffic,
		MassRemoval:     v1alpha1.MassRemovalOptions{MaxPercent: 25, MinEndpoints: 100, WindowSeconds: 10},
		DeletionPolicy:  v1alpha1.DeletionKeep,
		ServiceCIDRs:    []string{serviceRange},
	}
	if diff := cmp.Diff(want, set.Spec); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
	if owner := metav1.GetControllerOf(set); owner == nil || owner.UID != machine.UID {
		t.Errorf("owner: %v", owner)
	}
	n.wantWrites("n1")

	create(t, gold)
	n.wantWrites("n1", "apply n1")
	if got := ruleSet(t, "n1").Spec.Policy.Name; got != "gold" {
		t.Errorf("policy: got %s, want the one with the higher priority", got)
	}
	remove(t, gold)
	n.wantWrites("n1", "apply n1")
	machine.Labels[corev1.LabelTopologyZone] = "b"
	update(t, machine)
	n.wantWrites("n1", "apply n1")
	meddled := ruleSet(t, "n1")
	meddled.Spec.Mode = v1alpha1.ModeIPVS
	meddled.Spec.IPVS = &v1alpha1.IPVSOptions{Scheduler: "sh"}
	update(t, meddled)
	n.wantWrites("n1", "apply n1")
	if got := ruleSet(t, "n1").Spec; got.Mode != v1alpha1.ModeNFTables || got.IPVS != nil || got.Node.Zone != "b" {
		t.Errorf("spec: got %+v", got)
	}
	remove(t, silver)
	n.wantWrites("n1", "delete n1")
	n.wantWrites("n1")
}

func TestNodeGone(t *testing.T) {
	n := newNodes(t)
	machine := node("n1")
	create(t, machine, policy("default", "n1", 0))
	n.wantWrites("n1", "apply n1")
	remove(t, machine)
	n.wantWrites("n1", "delete n1")
}

// TestNodeStaleCache checks that objects that only the cache misses are not treated as
// deleted.
func TestNodeStaleCache(t *testing.T) {
	cases := map[string]func(client.Object) bool{
		"no Node":         func(obj client.Object) bool { _, ok := obj.(*corev1.Node); return ok },
		"no ProxyConfigs": func(obj client.Object) bool { _, ok := obj.(*v1alpha1.ProxyConfig); return ok },
	}
	for name, hide := range cases {
		t.Run(name, func(t *testing.T) {
			n := newNodes(t)
			machine := node("n1")
			create(t, machine, policy("default", "n1", 0))
			n.wantWrites("n1", "apply n1")
			n.hide = hide
			wantError(t, n.try("n1"), "the cache does not have the Node or ProxyConfig that the apiserver has")
			ruleSet(t, "n1")
			n.hide = nil
			remove(t, machine)
			n.wantWrites("n1", "delete n1")
		})
	}
}

// TestProxyConfigStatus follows the status of a policy while its nodes change.
func TestProxyConfigStatus(t *testing.T) {
	n := newNodes(t)
	config := policy("default", "n1", 0)
	create(t, node("n1"), config)
	statuses := proxyconfig.New(n.view, api, clock.RealClock{}, time.Hour)
	reconcile := func(want ...string) *v1alpha1.ProxyConfig {
		t.Helper()
		n.writes = nil
		if _, err := statuses.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKey{Name: "default"}}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, n.writes); diff != "" {
			t.Errorf("writes (-want +got):\n%s", diff)
		}
		got := &v1alpha1.ProxyConfig{}
		if err := api.Get(t.Context(), client.ObjectKey{Name: "default"}, got); err != nil {
			t.Fatal(err)
		}
		return got
	}
	wantCondition := func(got *v1alpha1.ProxyConfig, kind string, status metav1.ConditionStatus, reason string) {
		t.Helper()
		c := apimeta.FindStatusCondition(got.Status.Conditions, kind)
		if c == nil || c.Status != status || c.Reason != reason || c.ObservedGeneration != got.Generation || c.LastTransitionTime.Unix() == 0 {
			t.Errorf("%s: got %v, want %s, %s", kind, c, status, reason)
		}
	}
	got := reconcile("apply status of default")
	wantCondition(got, v1alpha1.ConditionAccepted, metav1.ConditionTrue, v1alpha1.ReasonAccepted)
	wantCondition(got, v1alpha1.ConditionAvailable, metav1.ConditionUnknown, v1alpha1.ReasonNodesPending)
	wantCondition(got, v1alpha1.ConditionProgressing, metav1.ConditionTrue, v1alpha1.ReasonNodesPending)
	reconcile()

	n.wantWrites("n1", "apply n1")
	set := ruleSet(t, "n1")
	set.Status = v1alpha1.NodeRuleSetStatus{
		ObservedGeneration: set.Generation, Policy: &set.Spec.Policy, Mode: v1alpha1.ModeNFTables,
		Programmed: &v1alpha1.ProgrammedCounts{Services: 1},
		Conditions: []metav1.Condition{{Type: v1alpha1.ConditionProgrammed, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonProgrammed,
			ObservedGeneration: set.Generation, LastTransitionTime: metav1.Now()}},
	}
	if err := api.Status().Update(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	got = reconcile("apply status of default")
	wantCondition(got, v1alpha1.ConditionAvailable, metav1.ConditionTrue, v1alpha1.ReasonAllProgrammed)
	wantCondition(got, v1alpha1.ConditionProgressing, metav1.ConditionFalse, v1alpha1.ReasonAllProgrammed)
	wantCondition(got, v1alpha1.ConditionDegraded, metav1.ConditionFalse, v1alpha1.ReasonHealthy)
	if diff := cmp.Diff(&v1alpha1.NodeCounts{Selected: 1, Programmed: 1}, got.Status.Nodes); diff != "" {
		t.Error(diff)
	}
	reconcile()

	set.Status.Conditions[0].Status, set.Status.Conditions[0].Reason = metav1.ConditionFalse, v1alpha1.ReasonKernelError
	set.Status.Conditions[0].Message = "no such table"
	if err := api.Status().Update(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	got = reconcile("apply status of default")
	wantCondition(got, v1alpha1.ConditionDegraded, metav1.ConditionTrue, v1alpha1.ReasonNodesFailing)
	if diff := cmp.Diff([]v1alpha1.FailingNode{{Name: "n1", Reason: "KernelError", Message: "no such table"}}, got.Status.FailingNodes); diff != "" {
		t.Error(diff)
	}
	set.Status.Conditions[0].Status = metav1.ConditionTrue
	if err := api.Status().Update(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	if got = reconcile("apply status of default"); len(got.Status.FailingNodes) != 0 {
		t.Errorf("failing nodes: got %v, want none any more", got.Status.FailingNodes)
	}
}
