// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/test/lab/labtest"
)

const controllerAccount = "system:serviceaccount:fairlead-system:fairlead-controller-manager"

// TestNodeReturnsByItself gives a node a revision that it cannot run, and stops the apiserver. The
// node returns before the apiserver is back, and so does an agent that is killed afterwards.
func TestNodeReturnsByItself(t *testing.T) {
	const node = "node-1"
	svc := newEcho(t, newNamespace(t), 2)
	withoutController(t)
	before := verified(t, node)
	open, err := dial(node, svc.Spec.ClusterIP, echoPort)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	tr := startTraffic(t, []string{node}, []*corev1.Service{svc})

	giveRevision(t, node, "bad-1", v1alpha1.ModeIPVS, 10)
	eventually(t, 20*time.Second, func() error {
		s, err := agentStatus(node)
		if err == nil && (s.Revision == nil || s.Revision.Name != "bad-1") {
			err = fmt.Errorf("the revision is %+v", s.Revision)
		}
		return err
	})
	resume := freeze(t, "kube-apiserver")
	frozen := time.Now()
	returned := func() error {
		s, err := agentStatus(node)
		switch {
		case err != nil:
			return err
		case s.Revision == nil || s.Revision.Name != "bad-1" || s.Revision.Phase != v1alpha1.RevisionReverted || s.Revision.LastError == "":
			return fmt.Errorf("the revision is %+v", s.Revision)
		case s.AppliedRevision != before.AppliedRevision || s.Mode != before.Mode || s.Programmed == nil:
			return fmt.Errorf("%s in mode %s is programmed, not %s in mode %s", s.AppliedRevision, s.Mode, before.AppliedRevision, before.Mode)
		}
		return nil
	}
	eventually(t, 30*time.Second, returned)
	pid := killAgent(t, node)
	eventually(t, 30*time.Second, func() error {
		if again, err := agentPID(node); err != nil || again == pid {
			return errors.Join(err, fmt.Errorf("the killed agent was %d", pid))
		}
		return returned()
	})
	if _, err := open.Say(); err != nil {
		t.Errorf("the open connection broke: %v", err)
	}
	if *rolloutsToo { // the outage is a long one
		for ; time.Since(frozen) < time.Minute; time.Sleep(time.Second) {
			if err := returned(); err != nil {
				t.Fatal(err)
			}
		}
	}
	resume()

	eventually(t, time.Minute, func() error {
		set, err := ruleSet(t, node)
		if err != nil {
			return err
		}
		c := meta.FindStatusCondition(set.Status.Conditions, v1alpha1.ConditionDegraded)
		if r := set.Status.Revision; r == nil || r.Phase != v1alpha1.RevisionReverted || c == nil || c.Reason != v1alpha1.ReasonRevisionReverted {
			return fmt.Errorf("reports %+v, %+v", r, c)
		}
		return nil
	})
	// The same again, in a mode that the node can run: it is tried again.
	giveRevision(t, node, "bad-1", v1alpha1.ModeIPTables, 60)
	if s := verified(t, node); s.AppliedRevision != "bad-1" || s.Mode != v1alpha1.ModeIPTables {
		t.Errorf("%s in mode %s is programmed", s.AppliedRevision, s.Mode)
	}
	tr.wantNoFailures(t, "a revision is tried, and tried again")
}

// ruleSet returns the NodeRuleSet of a node.
func ruleSet(t *testing.T, node string) (*v1alpha1.NodeRuleSet, error) {
	set := &v1alpha1.NodeRuleSet{}
	return set, api.Get(t.Context(), client.ObjectKey{Name: node}, set)
}

// verified waits until the API says that a node has verified its revision, and returns its status.
func verified(t *testing.T, node string) (status v1alpha1.NodeRuleSetStatus) {
	t.Helper()
	eventually(t, time.Minute, func() error {
		set, err := ruleSet(t, node)
		if err != nil {
			return err
		}
		status = set.Status
		if r := status.Revision; r == nil || r.Phase != v1alpha1.RevisionVerified || r.Name != set.Spec.Revision || !r.AssignedTime.Equal(set.Spec.AssignedTime) {
			return fmt.Errorf("%s is to run %s, and reports %+v", node, set.Spec.Revision, r)
		}
		return nil
	})
	return status
}

// giveRevision writes a revision into a NodeRuleSet, as the controller would.
func giveRevision(t *testing.T, node, name string, mode v1alpha1.ProxyMode, seconds int) {
	t.Helper()
	patch := fmt.Sprintf(`{"spec": {"revision": %q, "assignedTime": %q, "nodeDeadlineSeconds": %d, "mode": %q, "fallbackModes": null}}`,
		name, time.Now().UTC().Format(time.RFC3339), seconds, mode)
	controller, err := labtest.Connect(config, controllerAccount)
	if err != nil {
		t.Fatal(err)
	}
	set := &v1alpha1.NodeRuleSet{ObjectMeta: metav1.ObjectMeta{Name: node}}
	if err := controller.Patch(t.Context(), set, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
		t.Fatal(err)
	}
}

// withoutController stops the controller until the test ends.
func withoutController(t *testing.T) {
	t.Helper()
	const namespace, name = "fairlead-system", "fairlead-controller-manager"
	d := &appsv1.Deployment{}
	if err := api.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, d); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := labtest.Command("kubectl", "-n", namespace, "scale", "deployment/"+name, fmt.Sprintf("--replicas=%d", *d.Spec.Replicas)); err != nil {
			t.Error(err)
		}
		if err := labtest.Command("kubectl", "wait", "proxyconfig/default", "--for=condition=Degraded=False", "--timeout=90s"); err != nil {
			t.Error(err)
		}
	})
	scale(t.Context(), t, namespace, name, 0)
	eventually(t, time.Minute, func() error {
		var pods corev1.PodList
		if err := api.List(t.Context(), &pods, client.InNamespace(namespace)); err != nil {
			return err
		}
		for _, p := range pods.Items {
			if strings.HasPrefix(p.Name, name) {
				return fmt.Errorf("%s is there", p.Name)
			}
		}
		return nil
	})
}
