// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	plugin "github.com/fairlead-proxy/fairlead/kubectl"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// fairlead returns what runs the plugin as the cluster's administrator.
func fairlead(t *testing.T) func(args ...string) (out string, err error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, environment.KubeConfig, 0o600); err != nil {
		t.Fatal(err)
	}
	return func(args ...string) (string, error) {
		streams, _, stdout, _ := genericiooptions.NewTestIOStreams()
		command := plugin.NewCommand(streams)
		command.SetArgs(append([]string{"--kubeconfig", file}, args...))
		err := command.ExecuteContext(t.Context())
		return stdout.String(), err
	}
}

// TestWait waits for a Service whose newest endpoints the controller has not compiled yet. The
// nodes report them at different times.
func TestWait(t *testing.T) {
	s := newServices(t)
	svc, endpoints := s.service(), s.endpointSlice(2)
	create(t, svc, endpoints)
	s.wantWrites("apply web-v4-0")
	// others are the slices of other Services, which tests before this one may have left.
	var others []string
	var all v1alpha1.ServiceRuleSliceList
	if err := api.List(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	for i := range all.Items {
		if slice := &all.Items[i]; slice.Spec.ServiceNamespace != s.ns && model.CheckOrigin(slice) == nil && !model.IsObsolete(slice) {
			others = append(others, slice.Spec.Digest)
		}
	}
	report := func(node, digest string) {
		set := ruleSet(t, node)
		set.Status.RulesDigest = model.XORDigest(append(others, digest)...)
		set.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionProgrammed, Status: metav1.ConditionTrue,
			Reason: v1alpha1.ReasonProgrammed, LastTransitionTime: metav1.Now()}}
		if err := api.Status().Update(t.Context(), set); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"wait-a", "wait-b"} {
		create(t, &v1alpha1.NodeRuleSet{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.NodeRuleSetSpec{
			Policy: v1alpha1.PolicyReference{Name: "wait", Generation: 1}, Mode: v1alpha1.ModeNFTables, Node: v1alpha1.NodeFacts{Zone: "a"}}},
			&v1alpha1.NodeHeartbeat{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.NodeHeartbeatSpec{RenewTime: metav1.Now()}})
		report(name, s.slices()["web-v4-0"].Spec.Digest)
	}
	run := fairlead(t)
	wait := func(timeout string) (string, error) { return run("wait", "-n", s.ns, "web", "--timeout", timeout) }
	if out, err := wait("0"); err != nil || !strings.HasSuffix(out, "2 of 2 nodes have the newest rules.\n") {
		t.Fatalf("%q, %v", out, err)
	}

	setEndpoints(endpoints, 3)
	s.update(endpoints)
	if out, err := wait("0"); !errors.Is(err, plugin.ErrNo) || !strings.Contains(out, "the controller has not written the newest rules") {
		t.Fatalf("%q, %v", out, err)
	}
	type result struct {
		out string
		err error
	}
	ended := make(chan result, 1)
	go func() {
		out, err := wait("5m")
		ended <- result{out, err}
	}()
	s.wantWrites("apply web-v4-0")
	newest := s.slices()["web-v4-0"].Spec.Digest
	// This looks once, so it knows no state but the last.
	eventually(t, "one node has them", func(context.Context) bool {
		report("wait-a", newest)
		out, err := wait("0")
		return errors.Is(err, plugin.ErrNo) && strings.Contains(out, "1 of 2 nodes") && strings.Contains(out, "wait-b   OlderRules")
	})
	select {
	case r := <-ended:
		t.Fatalf("it ended while a node has older rules: %q, %v", r.out, r.err)
	default:
	}
	report("wait-b", newest)
	if r := <-ended; r.err != nil || !strings.HasSuffix(r.out, "2 of 2 nodes have the newest rules.\n") {
		t.Errorf("%q, %v", r.out, r.err)
	}
	if _, err := run("wait", "-n", s.ns, "nothing"); err == nil || !strings.Contains(err.Error(), `services "nothing" not found`) {
		t.Errorf("a Service that is not there: %v", err)
	}
}
