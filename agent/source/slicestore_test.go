// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

func TestCompactIsTheSame(t *testing.T) {
	cases := map[string]func(*v1alpha1.ServiceRuleSliceSpec){
		"as compiled":       func(*v1alpha1.ServiceRuleSliceSpec) {},
		"no endpoints":      func(s *v1alpha1.ServiceRuleSliceSpec) { s.Endpoints = nil },
		"more target ports": func(s *v1alpha1.ServiceRuleSliceSpec) { s.Endpoints[0].TargetPorts = []int32{1, 2, 3, 4, 5} },
		"no target ports":   func(s *v1alpha1.ServiceRuleSliceSpec) { s.Endpoints[1].TargetPorts = nil },
		"nodes and hints": func(s *v1alpha1.ServiceRuleSliceSpec) {
			s.Endpoints[1].NodeName, s.Endpoints[1].ForZones = "a", []string{"z"}
		},
		"ports without names": func(s *v1alpha1.ServiceRuleSliceSpec) { s.Ports = nil },
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			spec := agenttest.Web("10.96.0.1", "10.1.0.1", "10.1.0.2", "10.1.0.3")
			change(spec)
			want := spec.DeepCopy()
			got := compact(spec)
			for i := range got.Endpoints {
				spec.Endpoints[i].Address = "changed"             // is not shared
				_ = append(got.Endpoints[i].TargetPorts, 99, 100) // does not reach the next
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSlicesComeWithoutMetadata(t *testing.T) {
	slice := &v1alpha1.ServiceRuleSlice{Spec: *agenttest.Web("10.96.0.1", "10.1.0.1"), ObjectMeta: metav1.ObjectMeta{
		Namespace: "default", Name: "web-v4-0", Labels: map[string]string{"a": "b"}, ManagedFields: []metav1.ManagedFieldsEntry{{}}}}
	want := &v1alpha1.ServiceRuleSlice{Spec: slice.Spec, ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web-v4-0"}}
	got, err := (&sliceSink{}).Transformer()(slice)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
