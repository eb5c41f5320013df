// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// TestDegradedNamesAllCauses lists every cause, the most severe first.
func TestDegradedNamesAllCauses(t *testing.T) {
	var all Problems
	for kind := range kinds {
		// A node has NodeCleanup that programs nothing, and KubeProxyCleanup where nothing else is wrong.
		if kind != Unsupported && kind != NodeCleanup && kind != KubeProxyCleanup {
			all[kind] = fmt.Errorf("error %d", kind)
		}
	}
	s := good()
	s.Problems = all.List()
	s.Limitations = []dataplane.Limitation{{Reason: "B", Message: "no b"}, {Reason: "A", Message: "no a"}}
	c := degraded(s)
	if c.Reason != v1alpha1.ReasonKernelError || len(c.Message) > maxMessage {
		t.Errorf("reason %s, %d bytes", c.Reason, len(c.Message))
	}
	rest := c.Message
	for _, cause := range []string{"error 0.", "error 2.", "error 3.", "error 4.",
		"Removal is held: error 6.",
		"Foreign ServiceRuleSlices are refused: error 7.", "Malformed entries of ServiceRuleSlices are skipped: error 8.",
		"Unsupported on this node: no a; no b.", "Rules of a previous mode are not cleaned up: error 10.", "error 12.", "error 13.", "error 14.", "error 15.", "error 16"} {
		_, after, found := strings.Cut(rest, cause)
		if !found {
			t.Fatalf("%q is not there, or not in its place: %s", cause, c.Message)
		}
		rest = after
	}
	if rest != "." {
		t.Errorf("ends with %q: %s", rest, c.Message)
	}
}

// TestDegradedByKubeProxy says that rules of kube-proxy cannot be removed.
func TestDegradedByKubeProxy(t *testing.T) {
	c := degraded(good().With(KubeProxyCleanup, errors.New("busy")))
	const want = "kube-proxy's rules are left: busy. The agent retries; its own rules are active."
	if c.Reason != v1alpha1.ReasonKubeProxyCleanupFailed || c.Message != want {
		t.Errorf("%s: %s", c.Reason, c.Message)
	}
}

func TestJoinBounded(t *testing.T) {
	long := strings.Repeat("x", maxMessage)
	cases := map[string]struct {
		sentences []string
		want      string
	}{
		"one":                {[]string{"One."}, "One."},
		"two":                {[]string{"One.", "Two."}, "One. Two."},
		"one that just fits": {[]string{long}, long},
		"long ones": {[]string{long, long, long, "Four."},
			long[:maxSentence-4] + " ... " + long[:maxSentence-4] + " ... And 2 more."},
		"the end would not fit": {[]string{long[:maxSentence], long[:maxSentence], long[:250], "Four."},
			long[:maxSentence] + " " + long[:maxSentence] + " And 2 more."},
		"the last fits": {[]string{long[:maxSentence], long[:maxSentence], long[:254]},
			long[:maxSentence] + " " + long[:maxSentence] + " " + long[:254]},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := joinBounded(tc.sentences)
			if diff := cmp.Diff(tc.want, got); diff != "" || len(got) > maxMessage {
				t.Errorf("%d bytes (-want +got):\n%s", len(got), diff)
			}
		})
	}
}

// TestMessagesDoNotChangeWithServices adds a Service that a limitation concerns.
func TestMessagesDoNotChangeWithServices(t *testing.T) {
	of := func(services int) v1alpha1.NodeRuleSetStatus {
		s := good()
		l := dataplane.Limitation{Reason: "Affinity", Message: "session affinity: 10 seconds are clamped to 120", Count: services}
		for i := range services {
			l.Services = append(l.Services, model.ServiceID{Namespace: "default", Name: fmt.Sprintf("web-%d", i)})
		}
		s.Limitations = []dataplane.Limitation{l}
		return StatusOf(s, nil, metav1.Unix(100, 0))
	}
	one, two := of(1), of(2)
	if diff := cmp.Diff(one.Conditions, two.Conditions); diff != "" {
		t.Errorf("conditions changed:\n%s", diff)
	}
	if got := changeOf(&one, two); got != newCounts {
		t.Errorf("a Service more is change %d, want %d", got, newCounts)
	}
	if got := two.Limitations[0].Frontends; got != 2 {
		t.Errorf("%d frontends, want 2", got)
	}
}

// TestLimitationsAreBounded reports more than the API takes.
func TestLimitationsAreBounded(t *testing.T) {
	service := func(namespace, name string) model.ServiceID {
		return model.ServiceID{Namespace: namespace, Name: name}
	}
	v6 := service("a", "b")
	v6.Family = "IPv6"
	many := []dataplane.Limitation{{Reason: "Z", Services: []model.ServiceID{service("b", "x"), v6, service("a", "b")}, Count: 1}}
	for i := range 100 {
		l := dataplane.Limitation{Reason: dataplane.Reason(fmt.Sprintf("R%02d%s", i, strings.Repeat("r", 100))), Message: strings.Repeat("m", 1000), Count: 1 << 40}
		for j := range 100 {
			l.Services = append(l.Services, service(strings.Repeat("n", 63), fmt.Sprintf("s%d", j)))
		}
		l.Services = append(l.Services, service(strings.Repeat("n", 300), "too-long"))
		many = append(many, l, l)
	}
	list := limitations(many)
	if len(list) != maxLimitations {
		t.Errorf("%d limitations, want %d", len(list), maxLimitations)
	}
	for _, l := range list {
		if len(l.Reason) > maxLimitationReason || l.Message == "" || len(l.Message) > maxLimitationMessage || len(l.Services) > maxLimitedServices || l.Frontends < 0 {
			t.Errorf("%s is not bounded: %d bytes of message, %d Services, %d frontends", l.Reason, len(l.Message), len(l.Services), l.Frontends)
		}
	}
	longest := limitations([]dataplane.Limitation{
		{Reason: dataplane.Reason(strings.Repeat("a", maxLimitationReason)), Services: []model.ServiceID{
			service("n", strings.Repeat("a", maxServiceName-2)), service("n", strings.Repeat("b", maxServiceName-1))}}})
	if len(longest) != 1 || len(longest[0].Reason) != maxLimitationReason || len(longest[0].Services) != 1 || len(longest[0].Services[0]) != maxServiceName {
		t.Errorf("the longest that the API takes: %v", longest)
	}
	want := []v1alpha1.Limitation{
		{Reason: "Unsupported", Message: "one; two"},
		{Reason: "Z", Message: "Z", Frontends: 1, Services: []string{"a/b", "b/x"}},
	}
	got := limitations([]dataplane.Limitation{many[0], {Message: errors.Join(errors.New("one"), errors.New("two")).Error()}})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("limitations (-want +got):\n%s", diff)
	}
}

// TestWith puts a problem in its place, and leaves the snapshot as it is.
func TestWith(t *testing.T) {
	problem := func(kind Kind) Problem { return Problem{Kind: kind, Err: fmt.Errorf("error %d", kind)} }
	cases := map[string]struct {
		had  []Problem
		err  error
		want []Kind
	}{
		"the only one":     {nil, errors.New("in use"), []Kind{ListenFailed}},
		"none":             {[]Problem{problem(KernelError)}, nil, []Kind{KernelError}},
		"by its severity":  {[]Problem{problem(KernelError), problem(FallbackMode)}, errors.New("in use"), []Kind{KernelError, ListenFailed, FallbackMode}},
		"the least severe": {[]Problem{problem(KernelError)}, errors.New("in use"), []Kind{KernelError, ListenFailed}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := good()
			s.Problems = append(make([]Problem, 0, 10), tc.had...)
			var got []Kind
			for _, p := range s.With(ListenFailed, tc.err).Problems {
				got = append(got, p.Kind)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" || len(s.Problems) != len(tc.had) {
				t.Errorf("%d problems before (-want +got):\n%s", len(s.Problems), diff)
			}
			for i, p := range s.Problems {
				if p.Kind != tc.had[i].Kind {
					t.Errorf("the snapshot has changed: %v", s.Problems)
				}
			}
		})
	}
}
