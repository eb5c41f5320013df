// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/report"
	"github.com/fairlead-proxy/fairlead/agent/source"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// TestLargestStatus writes the longest status that an agent can report: one that the
// apiserver refused would say nothing at all.
func TestLargestStatus(t *testing.T) {
	n := newNodes(t)
	create(t, node("n1"), policy("default", "n1", 0))
	n.wantWrites("n1", "apply n1")
	long := errors.New(strings.Repeat("é\n", 100_000))
	var problems report.Problems
	for kind := range problems {
		problems[kind] = long
	}
	set := ruleSet(t, "n1")
	s := report.Snapshot{
		Node: &source.NodeRules{UID: set.UID, Generation: set.Generation, Spec: set.Spec}, FromAPI: true,
		Programmed: &report.Programmed{Node: &source.NodeRules{Generation: 1, Spec: set.Spec}, Mode: v1alpha1.ModeIPVS, Digest: 1 << 63},
		Problems:   problems.List(),
		Repairs:    report.Repairs{Count: 1 << 62},
	}
	for i := range 100 {
		l := dataplane.Limitation{Reason: dataplane.Reason(fmt.Sprintf("R%d%s", i, strings.Repeat("r", 100))), Message: long.Error(), Count: 1 << 40}
		for j := range 100 {
			l.Services = append(l.Services, model.ServiceID{Namespace: strings.Repeat("n", 63), Name: fmt.Sprintf("%s%d", strings.Repeat("s", 61), j)})
		}
		s.Limitations = append(s.Limitations, l, dataplane.Limitation{Message: "no reason"}, dataplane.Limitation{Reason: "no message"})
	}
	set.Status = report.StatusOf(s, nil, metav1.Now())
	if err := api.Status().Update(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	if got := ruleSet(t, "n1").Status.Limitations; len(got) != 16 || len(got[0].Services) != 10 {
		t.Errorf("the API shows %d limitations: %+v", len(got), got)
	}
}
