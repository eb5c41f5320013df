// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package servicerules

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/fairlead-proxy/fairlead/rules/compile"
)

// recorder records the last note of each event, keyed like the events API keys
// repetitions.
type recorder map[string][]string

func (r recorder) Eventf(_, related runtime.Object, _, reason, _, note string, args ...any) {
	key := reason
	if ref, ok := related.(*corev1.ObjectReference); ok {
		key += " " + ref.Kind + " " + ref.Namespace + "/" + ref.Name
	}
	r[key] = append(r[key], fmt.Sprintf(note, args...))
}

// TestRecordProblems records the problems of a Service several times.
func TestRecordProblems(t *testing.T) {
	first := compile.Problem{Object: "EndpointSlice default/web-1", Message: "port skipped"}
	second := compile.Problem{Object: "EndpointSlice default/web-1", Message: "endpoint skipped"}
	other := compile.Problem{Object: "EndpointSlice default/web-2", Message: "port skipped"}
	own := compile.Problem{Object: "Service default/web", Message: "range skipped"}
	const slice1, slice2 = "EndpointSkipped EndpointSlice default/web-1", "EndpointSkipped EndpointSlice default/web-2"
	cases := map[string]struct {
		rounds [][]compile.Problem
		want   recorder
	}{
		"no problem": {[][]compile.Problem{nil}, recorder{}},
		"each once while it lasts": {[][]compile.Problem{{first}, {first}},
			recorder{slice1: {"EndpointSlice default/web-1: port skipped"}}},
		"again when it comes back": {[][]compile.Problem{{first}, nil, {first}},
			recorder{slice1: {"EndpointSlice default/web-1: port skipped", "EndpointSlice default/web-1: port skipped"}}},
		"only what is new": {[][]compile.Problem{{first}, {first, second}},
			recorder{slice1: {"EndpointSlice default/web-1: port skipped", "EndpointSlice default/web-1: endpoint skipped"}}},
		"none hides another": {[][]compile.Problem{{first, other, own, second}}, recorder{
			slice1:         {"EndpointSlice default/web-1: port skipped; endpoint skipped"},
			slice2:         {"EndpointSlice default/web-2: port skipped"},
			"FieldSkipped": {"Service default/web: range skipped"}}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := recorder{}
			s := &state{}
			svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}}
			for _, problems := range tc.rounds {
				s.recordProblems(got, svc, problems)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
