// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// edited returns a slice as kubectl edit leaves it.
func edited(spec *v1alpha1.ServiceRuleSliceSpec) *v1alpha1.ServiceRuleSlice {
	s := agenttest.Slice(spec)
	s.ManagedFields = []metav1.ManagedFieldsEntry{
		{Manager: "fairlead-controller", Operation: metav1.ManagedFieldsOperationApply, FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{"f:labels":{}}}`)},
		{Manager: "kubectl-edit", Operation: metav1.ManagedFieldsOperationUpdate, FieldsV1: metav1.NewFieldsV1(`{"f:spec":{}}`)},
	}
	return s
}

// named returns a foreign slice with another name.
func named(name string) *v1alpha1.ServiceRuleSlice {
	s := agenttest.Slice(agenttest.Web("10.96.0.10", "192.0.2.66"))
	s.Name = name
	return s
}

// TestForeignSlices shows the watch slices that the controller has not written, one by one
// and in complete lists.
func TestForeignSlices(t *testing.T) {
	const editedReason = "default.web-v4-0: kubectl-edit has written its spec, not fairlead-controller"
	good, better := agenttest.Web("10.96.0.1", "10.1.0.1"), agenttest.Web("10.96.0.1", "10.1.0.2")
	bad := agenttest.Web("10.96.0.1", "192.0.2.66")
	type sink = *sliceSink
	list := func(s sink, all ...*v1alpha1.ServiceRuleSlice) {
		objects := make([]any, len(all))
		for i, slice := range all {
			objects[i] = slice
		}
		if err := s.Replace(objects, ""); err != nil {
			t.Error(err)
		}
	}
	cases := map[string]struct {
		do      func(sink)
		want    *v1alpha1.ServiceRuleSliceSpec // of default.web-v4-0; nil: none
		refused string
	}{
		"none":   {func(s sink) { list(s, agenttest.Slice(good)) }, good, ""},
		"edited": {func(s sink) { list(s, agenttest.Slice(good)); _ = s.Update(edited(bad)) }, good, editedReason},
		"edited and restored": {func(s sink) {
			list(s, agenttest.Slice(good))
			_ = s.Update(edited(bad))
			_ = s.Update(agenttest.Slice(better))
		}, better, ""},
		"edited and deleted":   {func(s sink) { list(s, agenttest.Slice(good)); _ = s.Update(edited(bad)); _ = s.Delete(edited(bad)) }, good, ""},
		"edited, listed again": {func(s sink) { list(s, agenttest.Slice(good)); list(s, edited(bad)) }, good, editedReason},
		"edited, listed as restored": {func(s sink) {
			list(s, agenttest.Slice(good))
			list(s, edited(bad))
			list(s, agenttest.Slice(better))
		}, better, ""},
		"edited, not listed any more": {func(s sink) {
			list(s, agenttest.Slice(good))
			list(s, edited(bad))
			list(s)
		}, good, ""},
		"edited before the first list": {func(s sink) { list(s, edited(bad)) }, nil, editedReason},
		"made by hand":                 {func(s sink) { list(s, agenttest.Slice(good)); _ = s.Add(named("aaa.dns-v4-0")) }, good, "aaa.dns-v4-0: its spec belongs to the name default.web-v4-0"},
		"made by hand and deleted": {func(s sink) {
			list(s, agenttest.Slice(good))
			_ = s.Add(named("aaa.dns-v4-0"))
			_ = s.Delete(named("aaa.dns-v4-0"))
		}, good, ""},
		"two of them": {func(s sink) { list(s, agenttest.Slice(good), named("b"), named("a")) }, good,
			"a: its spec belongs to the name default.web-v4-0\nb: its spec belongs to the name default.web-v4-0"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			in := NewStore(time.Now)
			in.SetNode(testNodeRules(1))
			in.NodeSynced()
			tc.do(NewSliceSink(t.Context(), in, nil, func(string, error) {}).(*sliceSink))
			_, held := in.Snapshot()
			want := agenttest.Listed()
			if tc.want != nil {
				want = agenttest.Listed(tc.want)
			}
			if diff := cmp.Diff(want, held); diff != "" {
				t.Errorf("slices (-want +got):\n%s", diff)
			}
			for range 2 { // it is reported while it lasts
				ch, ok := in.Take()
				got := ""
				if ch.Refused != nil {
					got = ch.Refused.Error()
				}
				if !ok || got != tc.refused {
					t.Errorf("refused: %q, want %q", got, tc.refused)
				}
			}
		})
	}
}

// TestRefusedAreBounded refuses many slices.
func TestRefusedAreBounded(t *testing.T) {
	in := NewStore(time.Now)
	in.SetNode(testNodeRules(1))
	in.NodeSynced()
	sink := NewSliceSink(t.Context(), in, nil, func(string, error) {})
	var list []any
	for i := range 1000 {
		list = append(list, named(fmt.Sprintf("slice-%03d", i)))
	}
	if err := sink.Replace(list, ""); err != nil {
		t.Fatal(err)
	}
	ch, _ := in.Take()
	lines := strings.Split(ch.Refused.Error(), "\n")
	if len(lines) != 11 || !strings.HasPrefix(lines[0], "slice-000: ") || !slices.Contains(lines, "and others") {
		t.Errorf("got %d lines:\n%s", len(lines), ch.Refused)
	}
}

// TestRefusalsChange checks what is reported after each change, also when it was taken in between.
func TestRefusalsChange(t *testing.T) {
	in := NewStore(time.Now)
	in.SetNode(testNodeRules(1))
	in.NodeSynced()
	sink := NewSliceSink(t.Context(), in, nil, func(string, error) {})
	good, bad := agenttest.Web("10.96.0.1", "10.1.0.1"), agenttest.Web("10.96.0.1", "192.0.2.66")
	renamed := edited(bad)
	renamed.ManagedFields[1].Manager = "another"
	if err := sink.Replace([]any{agenttest.Slice(good)}, ""); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name, want string
		do         func() error
	}{
		{"good", "", func() error { return sink.Update(agenttest.Slice(good)) }},
		{"edited", "default.web-v4-0: kubectl-edit has written its spec, not fairlead-controller", func() error { return sink.Update(edited(bad)) }},
		{"edited by another", "default.web-v4-0: another has written its spec, not fairlead-controller", func() error { return sink.Update(renamed) }},
		{"restored", "", func() error { return sink.Update(agenttest.Slice(good)) }},
		{"edited again", "default.web-v4-0: kubectl-edit has written its spec, not fairlead-controller", func() error { return sink.Update(edited(bad)) }},
		{"restored in a list", "", func() error { return sink.Replace([]any{agenttest.Slice(good)}, "") }},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		got := ""
		if ch, _ := in.Take(); ch.Refused != nil {
			got = ch.Refused.Error()
		}
		if got != step.want {
			t.Errorf("%s: refused %q, want %q", step.name, got, step.want)
		}
	}
}

// TestRefusalWakes checks that the engine takes a refusal, and its end, at once.
func TestRefusalWakes(t *testing.T) {
	in := NewStore(time.Now)
	sink := NewSliceSink(t.Context(), in, nil, func(string, error) {})
	woken := func(what string, want bool) {
		t.Helper()
		select {
		case <-in.Wakeup:
			if !want {
				t.Errorf("%s: woken", what)
			}
		default:
			if want {
				t.Errorf("%s: not woken", what)
			}
		}
	}
	for _, step := range []struct {
		what string
		do   func(any) error
		obj  any
		want bool
	}{
		{"refused", sink.Add, named("a"), true},
		{"refused again", sink.Update, named("a"), false},
		{"gone", sink.Delete, named("a"), true},
	} {
		if err := step.do(step.obj); err != nil {
			t.Fatal(err)
		}
		woken(step.what, step.want)
	}
}
