// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/ptr"

	"github.com/fairlead-proxy/fairlead/agent/dataplane/fake"
	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/agent/report"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// recorder records what the loop reports about flows.
type recorder struct {
	calls   []string
	failure error
}

func (r *recorder) Change(d model.Delta) {
	for _, c := range d.Frontends {
		r.calls = append(r.calls, "change "+c.Key.String())
	}
}

func (r *recorder) Programmed(everything bool) {
	r.calls = append(r.calls, map[bool]string{true: "programmed everything", false: "programmed"}[everything])
}

func (r *recorder) Failure() error { return r.failure }

func (r *recorder) take() (calls []string) {
	calls, r.calls = r.calls, nil
	return calls
}

// noFlows is for a kernel that tracks none.
type noFlows struct{}

func (noFlows) Change(model.Delta) {}
func (noFlows) Programmed(bool)    {}
func (noFlows) Failure() error     { return nil }

func TestLoopNotesFlows(t *testing.T) {
	h := newHarness(t)
	r := &recorder{}
	h.flows = r
	step := func(want ...string) {
		t.Helper()
		h.step(t.Context())
		if diff := cmp.Diff(want, r.take()); diff != "" {
			t.Error(diff)
		}
	}
	h.fromAPI(agenttest.Web("10.96.0.1", "10.244.1.2"))
	step("change 10.96.0.1:80/tcp", "programmed everything")
	h.store.SetSlice(agenttest.WebName, agenttest.Web("10.96.0.1", "10.244.1.3"), time.Time{})
	step("change 10.96.0.1:80/tcp", "programmed")
	// A change that the kernel rejects counts when it is programmed.
	h.store.SetSlice(agenttest.WebName, agenttest.Web("10.96.0.1", "10.244.1.4"), time.Time{})
	h.kernel.Fail(fake.Apply, errors.New("no buffer space available"))
	step("change 10.96.0.1:80/tcp")
	step("programmed everything")

	r.failure = errors.New("operation not permitted")
	h.step(t.Context())
	if !errors.Is(h.last.Problem(report.ConntrackFailed), r.failure) {
		t.Errorf("the failure is %v", h.last.Problem(report.ConntrackFailed))
	}
}

func TestLoopTunes(t *testing.T) {
	h := newHarness(t)
	var tuned []*v1alpha1.ConntrackOptions
	denied := errors.New("permission denied")
	h.tune = func(o *v1alpha1.ConntrackOptions) error { tuned = append(tuned, o); return denied }
	expect := func(want ...*v1alpha1.ConntrackOptions) {
		t.Helper()
		h.step(t.Context())
		if diff := cmp.Diff(want, tuned); diff != "" {
			t.Error(diff)
		}
		if !errors.Is(h.last.Problem(report.ConntrackSysctlFailed), denied) {
			t.Errorf("the failure is %v", h.last.Problem(report.ConntrackSysctlFailed))
		}
		tuned = nil
	}
	h.fromAPI(agenttest.Web("10.96.0.1", "10.244.1.2"))
	expect(nil) // the policy has none
	h.store.SetSlice(agenttest.WebName, agenttest.Web("10.96.0.1", "10.244.1.3"), time.Time{})
	expect()
	node := testNodeRules(2)
	node.Spec.Conntrack = &v1alpha1.ConntrackOptions{UDPTimeoutSeconds: ptr.To[int32](10)}
	h.store.SetNode(node)
	expect(node.Spec.Conntrack)
	h.needSync = true // as the regular read-back
	expect(node.Spec.Conntrack)
}
