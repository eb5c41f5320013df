// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/fairlead-proxy/fairlead/agent/dataplane/fake"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// recorder notes what the loop tells of flows.
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

func TestLoopTellsOfFlows(t *testing.T) {
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
	h.fromAPI(web("10.96.0.1", "10.244.1.2"))
	step("change 10.96.0.1:80/tcp", "programmed everything")
	h.in.setSlice(webName, web("10.96.0.1", "10.244.1.3"))
	step("change 10.96.0.1:80/tcp", "programmed")
	// A change that the kernel refuses counts when it is programmed.
	h.in.setSlice(webName, web("10.96.0.1", "10.244.1.4"))
	h.kernel.Fail(fake.Apply, errors.New("no buffer space available"))
	step("change 10.96.0.1:80/tcp")
	step("programmed everything")

	r.failure = errors.New("operation not permitted")
	h.step(t.Context())
	if !errors.Is(h.last.forgetting, r.failure) {
		t.Errorf("the failure is %v", h.last.forgetting)
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
		if !errors.Is(h.last.tuning, denied) {
			t.Errorf("the failure is %v", h.last.tuning)
		}
		tuned = nil
	}
	h.fromAPI(web("10.96.0.1", "10.244.1.2"))
	expect(nil) // the policy has none
	h.in.setSlice(webName, web("10.96.0.1", "10.244.1.3"))
	expect()
	node := testNodeRules(2)
	node.Spec.Conntrack = &v1alpha1.ConntrackOptions{UDPTimeoutSeconds: ptr.To[int32](10)}
	h.in.setNode(node)
	expect(node.Spec.Conntrack)
	h.needSync = true // as the regular read-back
	expect(node.Spec.Conntrack)
}

func TestStatusOfFlows(t *testing.T) {
	forgetting, tuning, both := good(), good(), good()
	forgetting.forgetting = errors.New("operation not permitted")
	tuning.tuning = errors.New("nf_conntrack_max is 1 and should be 2: read-only file system")
	both.forgetting, both.tuning = forgetting.forgetting, tuning.tuning
	cases := map[string]struct {
		outcome outcome
		reason  string
	}{
		"nothing is wrong": {good(), v1alpha1.ReasonHealthy},
		"clean-up":         {forgetting, v1alpha1.ReasonConntrackFailed},
		"parameters":       {tuning, v1alpha1.ReasonConntrackSysctl},
		"both":             {both, v1alpha1.ReasonConntrackFailed},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := degraded(tc.outcome)
			want := metav1.ConditionTrue
			if tc.reason == v1alpha1.ReasonHealthy {
				want = metav1.ConditionFalse
			}
			if got.Reason != tc.reason || got.Status != want {
				t.Errorf("%s %s: %s", got.Status, got.Reason, got.Message)
			}
			if accepted(tc.outcome).Status != metav1.ConditionTrue || programmed(tc.outcome).Status != metav1.ConditionTrue {
				t.Error("the rules are in force all the same")
			}
		})
	}
}
