// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package servicerules

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
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

// texts records each event as one text.
type texts []string

func (r *texts) Eventf(regarding, related runtime.Object, kind, reason, action, note string, args ...any) {
	name := func(obj runtime.Object) string {
		switch o := obj.(type) {
		case nil:
			return "nothing"
		case *corev1.ObjectReference:
			return o.APIVersion + " " + o.Kind + " " + o.Namespace + "/" + o.Name
		case metav1.Object:
			return o.GetNamespace() + "/" + o.GetName()
		}
		return "?"
	}
	*r = append(*r, fmt.Sprintf("%s %s %s of %s and %s: %s", kind, reason, action, name(regarding), name(related), fmt.Sprintf(note, args...)))
}

// TestEvents checks all of each event: of what, why, and what the reader can do.
func TestEvents(t *testing.T) {
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}}
	slice := foreignSlice{&v1alpha1.ServiceRuleSlice{ObjectMeta: metav1.ObjectMeta{Name: "default.web-v4-0"}}, errors.New("kubectl has written its spec")}
	found := conflict{loser: serviceRef("default", "web", "u"), winner: serviceRef("a", "db", "v"), note: "10.96.0.1:80/tcp is also db's"}
	other := conflict{loser: serviceRef("default", "web", "u"), winner: serviceRef("a", "mq", "w"), note: "10.96.0.1:81/tcp is also mq's"}
	conflicts := func(rounds ...[]conflict) func(events.EventRecorder) {
		return func(r events.EventRecorder) {
			s := &state{}
			for _, found := range rounds {
				s.recordConflicts(r, found)
			}
		}
	}
	const first = "Warning AddressConflict CompileRules of v1 Service default/web and v1 Service a/db: 10.96.0.1:80/tcp is also db's"
	const second = "Warning AddressConflict CompileRules of v1 Service default/web and v1 Service a/mq: 10.96.0.1:81/tcp is also mq's"
	long := strings.Repeat("x", 1021)
	for name, tc := range map[string]struct {
		record func(events.EventRecorder)
		want   []string
	}{
		"a conflict":             {conflicts([]conflict{found}), []string{first}},
		"once while it lasts":    {conflicts([]conflict{found}, []conflict{found}), []string{first}},
		"again, and another one": {conflicts([]conflict{found}, nil, []conflict{found, other}), []string{first, first, second}},
		"not written": {func(r events.EventRecorder) { recordFailure(r, svc, errors.New("apply: timeout")) },
			[]string{"Warning RulesNotWritten WriteRules of default/web and nothing: apply: timeout; the controller retries, and the nodes keep the rules that they have"}},
		"not written, for long reasons": {func(r events.EventRecorder) { recordFailure(r, svc, errors.New(long+"ß")) },
			[]string{"Warning RulesNotWritten WriteRules of default/web and nothing: " + long + "..."}},
		"foreign, of a Service": {func(r events.EventRecorder) { recordForeign(r, svc, slice, "overwritten") },
			[]string{"Warning ForeignSlice WriteRules of default/web and /default.web-v4-0: ServiceRuleSlice default.web-v4-0 was overwritten: " +
				"kubectl has written its spec. Only the controller writes ServiceRuleSlices"}},
		"foreign, without one": {func(r events.EventRecorder) { recordForeign(r, nil, slice, "deleted") },
			[]string{"Warning ForeignSlice WriteRules of /default.web-v4-0 and nothing: ServiceRuleSlice default.web-v4-0 was deleted: " +
				"kubectl has written its spec. Only the controller writes ServiceRuleSlices"}},
		"problems": {func(r events.EventRecorder) {
			(&state{}).recordProblems(r, svc, []compile.Problem{{Object: "EndpointSlice default/web-1", Message: "port skipped"}, {Object: "Service default/web", Message: "range skipped"}})
		}, []string{"Warning EndpointSkipped CompileRules of default/web and discovery.k8s.io/v1 EndpointSlice default/web-1: EndpointSlice default/web-1: port skipped",
			"Warning FieldSkipped CompileRules of default/web and nothing: Service default/web: range skipped"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got texts
			tc.record(&got)
			if diff := cmp.Diff(tc.want, []string(got)); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
	for length, want := range map[int]int{1023: 1023, 1024: 1024, 1025: 1024} {
		if got := truncate(strings.Repeat("x", length)); len(got) != want || strings.HasSuffix(got, "...") != (length > want) {
			t.Errorf("%d bytes become %d", length, len(got))
		}
	}
}
