// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// good is an outcome without any trouble.
func good() outcome {
	return outcome{node: testNodeRules(1), running: testNodeRules(1), fromAPI: true, mode: v1alpha1.ModeNFTables, digest: 7, slices: 1}
}

func TestStatus(t *testing.T) {
	trouble := errors.New("trouble")
	with := func(change func(o *outcome)) outcome {
		o := good()
		change(&o)
		return o
	}
	cases := map[string]struct {
		outcome outcome
		want    map[string]string // condition type: status/reason
	}{
		"all is well": {good(), map[string]string{
			"Accepted": "True/Accepted", "Programmed": "True/Programmed", "Degraded": "False/Healthy"}},
		"before the first programming": {with(func(o *outcome) { o.running = nil }), map[string]string{
			"Accepted": "True/Accepted", "Programmed": "Unknown/Programming", "Degraded": "False/Healthy"}},
		"the kernel refuses": {with(func(o *outcome) { o.programming = trouble }), map[string]string{
			"Accepted": "True/Accepted", "Programmed": "False/KernelError", "Degraded": "True/KernelError"}},
		"the kernel cannot run the mode": {with(func(o *outcome) { o.running, o.unsupported = nil, trouble }), map[string]string{
			"Accepted": "False/ModeUnsupported", "Programmed": "False/ModeUnsupported", "Degraded": "True/ModeUnsupported"}},
		"on stored rules": {with(func(o *outcome) { o.fromAPI = false }), map[string]string{
			"Accepted": "True/Accepted", "Programmed": "True/FromCheckpoint", "Degraded": "False/Healthy"}},
		"a new generation is not programmed": {with(func(o *outcome) { o.node = testNodeRules(2) }), map[string]string{
			"Accepted": "True/Accepted", "Programmed": "False/Programming", "Degraded": "False/Healthy"}},
		"malformed slices": {with(func(o *outcome) { o.malformed = []error{trouble} }), map[string]string{
			"Accepted": "True/Accepted", "Programmed": "True/Programmed", "Degraded": "True/SkippedRules"}},
		"malformed settings": {with(func(o *outcome) { o.settings = trouble }), map[string]string{
			"Accepted": "False/Invalid", "Programmed": "True/Programmed", "Degraded": "False/Healthy"}},
		"something cannot be done here": {with(func(o *outcome) { o.lacking = trouble }), map[string]string{
			"Accepted": "True/Accepted", "Programmed": "True/Programmed", "Degraded": "True/PartlyProgrammed"}},
		"the disk is full": {with(func(o *outcome) { o.storing = trouble }), map[string]string{
			"Accepted": "True/Accepted", "Programmed": "True/Programmed", "Degraded": "True/CheckpointFailed"}},
		"a fallback mode": {with(func(o *outcome) { o.node.Spec.Mode, o.skipped = v1alpha1.ModeIPVS, trouble }), map[string]string{
			"Accepted": "True/Accepted", "Programmed": "True/Programmed", "Degraded": "True/FallbackMode"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := map[string]string{}
			for _, c := range statusOf(tc.outcome, nil, metav1.Now()).Conditions {
				got[c.Type] = string(c.Status) + "/" + c.Reason
				if c.Message == "" || c.ObservedGeneration != tc.outcome.node.Generation {
					t.Errorf("%s lacks a message or its generation: %+v", c.Type, c)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestStatusMessageIsBounded(t *testing.T) {
	o := good()
	o.programming = errors.New(strings.Repeat("x", 100_000))
	for _, c := range statusOf(o, nil, metav1.Now()).Conditions {
		if len(c.Message) > maxMessage {
			t.Errorf("%s has %d bytes, want at most %d", c.Type, len(c.Message), maxMessage)
		}
	}
}

func TestStatusMessageIsOneLine(t *testing.T) {
	o := good()
	o.malformed = []error{errors.New("one"), errors.New("two")}
	o.unsupported = errors.Join(errUnsupported, errors.New("IPVS: not there"))
	o.programming = errors.Join(errors.New("one"), errors.New("two"))
	for _, c := range statusOf(o, nil, metav1.Now()).Conditions {
		if strings.Contains(c.Message, "\n") {
			t.Errorf("%s: %q", c.Type, c.Message)
		}
	}
}

func TestStatusKeepsTransitionTimes(t *testing.T) {
	first, later := metav1.Unix(100, 0), metav1.Unix(200, 0)
	before := statusOf(good(), nil, first).Conditions
	o := good()
	o.programming = errors.New("trouble")
	for _, c := range statusOf(o, before, later).Conditions {
		want := later
		if c.Type == v1alpha1.ConditionAccepted {
			want = first
		}
		if !c.LastTransitionTime.Equal(&want) {
			t.Errorf("%s changed at %v, want %v", c.Type, c.LastTransitionTime, want)
		}
	}
}

// TestReporter steps a reporter through time and counts its writes.
func TestReporter(t *testing.T) {
	type step struct {
		after   time.Duration
		outcome outcome
		fail    bool
		want    int // writes so far
	}
	counted := func(services int) outcome {
		o := good()
		o.counts = resolve.Counts{Services: services}
		return o
	}
	failing := good()
	failing.programming = errors.New("trouble")
	gone := good()
	gone.nodeGone = true
	stored := good()
	stored.fromAPI = false
	cases := map[string][]step{
		"the first is written": {{outcome: good(), want: 1}},
		"the same is not written again": {
			{outcome: good(), want: 1}, {after: time.Hour, outcome: good(), want: 1}},
		"a condition is written at once": {
			{outcome: good(), want: 1}, {after: time.Second, outcome: failing, want: 2}, {outcome: good(), want: 3}},
		"counts wait for their minute": {
			{outcome: counted(1), want: 1},
			{after: time.Second, outcome: counted(2), want: 1},
			{after: 50 * time.Second, outcome: counted(3), want: 1},
			{after: 9 * time.Second, outcome: counted(3), want: 2},
			{after: 10 * time.Second, outcome: counted(4), want: 2}},
		"counts after a quiet time wait for the jitter only": {
			{outcome: counted(1), want: 1},
			{after: time.Hour, outcome: counted(2), want: 1},
			{after: 3 * time.Second, outcome: counted(2), want: 2}},
		"a failed write is tried again with back-off": {
			{outcome: good(), fail: true, want: 1},
			{outcome: good(), fail: true, want: 1},
			{after: writeRetryMin, outcome: good(), fail: true, want: 2},
			{after: writeRetryMin, outcome: good(), want: 2},
			{after: writeRetryMin, outcome: good(), want: 3},
			{after: time.Hour, outcome: good(), want: 3}},
		"nothing is written where no object is":          {{outcome: gone, want: 0}},
		"nothing is written before the API has answered": {{outcome: stored, want: 0}},
	}
	for name, steps := range cases {
		t.Run(name, func(t *testing.T) {
			clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
			writes, fail := 0, false
			r := newReporter(func(context.Context, types.UID, v1alpha1.NodeRuleSetStatus) error {
				writes++
				if fail {
					return errors.New("no apiserver")
				}
				return nil
			}, nil, logr.Discard(), clk)
			r.jitter = func() time.Duration { return 2 * time.Second }
			for i, s := range steps {
				clk.Step(s.after)
				fail = s.fail
				r.set(s.outcome)
				r.step(t.Context())
				if writes != s.want {
					t.Fatalf("step %d: %d writes, want %d", i, writes, s.want)
				}
			}
		})
	}
}

// TestReporterRestores shows the reporter what the API holds, some time after
// its first write, and counts the writes that answer it.
func TestReporterRestores(t *testing.T) {
	emptied := v1alpha1.NodeRuleSetStatus{}
	shuffled := func(s v1alpha1.NodeRuleSetStatus) v1alpha1.NodeRuleSetStatus {
		s.Conditions = slices.Clone(s.Conditions)
		slices.Reverse(s.Conditions)
		s.Conditions[0].LastTransitionTime = metav1.Unix(1, 0)
		return s
	}
	same := func(s v1alpha1.NodeRuleSetStatus) v1alpha1.NodeRuleSetStatus { return s }
	edited := func(v1alpha1.NodeRuleSetStatus) v1alpha1.NodeRuleSetStatus { return emptied }
	cases := map[string]struct {
		shown func(written v1alpha1.NodeRuleSetStatus) v1alpha1.NodeRuleSetStatus
		uid   types.UID
		after time.Duration
		want  int
	}{
		"what was written":         {same, good().node.UID, time.Hour, 0},
		"the same in other words":  {shuffled, good().node.UID, time.Hour, 0},
		"somebody's edit":          {edited, good().node.UID, time.Hour, 1},
		"maybe our write's before": {edited, good().node.UID, restoreAfter - time.Second, 0},
		"another object":           {edited, "another", time.Hour, 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
			var writes []v1alpha1.NodeRuleSetStatus
			r := newReporter(func(_ context.Context, _ types.UID, s v1alpha1.NodeRuleSetStatus) error {
				writes = append(writes, s)
				return nil
			}, nil, logr.Discard(), clk)
			r.set(good())
			r.step(t.Context())
			clk.Step(tc.after)
			r.show(tc.uid, tc.shown(writes[0]))
			for range 3 {
				r.step(t.Context())
				clk.Step(time.Millisecond)
			}
			if got := len(writes) - 1; got != tc.want {
				t.Errorf("%d writes, want %d", got, tc.want)
			}
		})
	}
}

// TestRepairEvents counts events of repairs, of which there is one a minute at most.
func TestRepairEvents(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	events := 0
	r := newReporter(
		func(context.Context, types.UID, v1alpha1.NodeRuleSetStatus) error { return nil },
		func(_ context.Context, _ types.UID, reason, note string) error {
			events++
			if reason != ReasonRulesRepaired || note == "" {
				t.Errorf("event %s: %q", reason, note)
			}
			return nil
		}, logr.Discard(), clk)
	for i, s := range []struct {
		after   time.Duration
		repairs int64
		want    int
	}{{0, 0, 0}, {time.Second, 1, 1}, {time.Second, 1, 1}, {time.Second, 5, 1}, {time.Minute, 5, 2}, {time.Hour, 5, 2}, {time.Second, 6, 3}} {
		clk.Step(s.after)
		o := good()
		o.repairs = s.repairs
		r.set(o)
		r.step(t.Context())
		if events != s.want {
			t.Errorf("step %d: %d events, want %d", i, events, s.want)
		}
	}
}

// TestServedStatus checks that /status says since when a condition holds, not
// when it was asked.
func TestServedStatus(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	r := newReporter(nil, nil, logr.Discard(), clk)
	h := &health{metrics: newMetrics(), clock: clk, reported: r.shownConditions}
	h.set(good())
	since := metav1.Unix(500, 0)
	r.show(good().node.UID, statusOf(good(), nil, since))
	w := httptest.NewRecorder()
	h.metricsMux().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/status", nil))
	var got v1alpha1.NodeRuleSetStatus
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	for _, c := range got.Conditions {
		if !c.LastTransitionTime.Equal(&since) {
			t.Errorf("%s since %v, want %v", c.Type, c.LastTransitionTime, since)
		}
	}
	if len(got.Conditions) == 0 {
		t.Error("no conditions")
	}
}

func TestHealth(t *testing.T) {
	now := time.Unix(1000, 0)
	failing := good()
	failing.programming = errors.New("trouble")
	departing := good()
	departing.node.Spec.Node.Departing = true
	cases := map[string]struct {
		outcomes       []outcome
		waitingSince   time.Time
		after          time.Duration
		healthz, livez int
		proxy          bool
	}{
		"before the first programming":    {nil, time.Time{}, time.Hour, 503, 200, false},
		"programmed":                      {[]outcome{good()}, time.Time{}, time.Hour, 200, 200, true},
		"H4: the node is about to go":     {[]outcome{good(), departing}, time.Time{}, time.Second, 503, 200, true},
		"a change waits for a moment":     {[]outcome{good()}, now, 59 * time.Second, 200, 200, true},
		"a change waits for too long":     {[]outcome{good()}, now, 61 * time.Second, 503, 503, false},
		"the kernel refuses for a moment": {[]outcome{good(), failing}, time.Time{}, 59 * time.Second, 200, 200, true},
		"the kernel refuses for too long": {[]outcome{good(), failing}, time.Time{}, 61 * time.Second, 503, 200, false},
		"the kernel accepts again":        {[]outcome{good(), failing, good()}, time.Time{}, time.Hour, 200, 200, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			clk := clocktesting.NewFakeClock(now)
			h := &health{metrics: newMetrics(), clock: clk, waiting: func() time.Time { return tc.waitingSince }}
			for _, o := range tc.outcomes {
				h.set(o)
			}
			clk.Step(tc.after)
			for path, want := range map[string]int{"/healthz": tc.healthz, "/livez": tc.livez} {
				w := httptest.NewRecorder()
				h.healthMux().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
				if w.Code != want {
					t.Errorf("%s: got %d, want %d: %s", path, w.Code, want, w.Body)
				}
			}
			if got := h.proxyHealthy(); got != tc.proxy {
				t.Errorf("health check node ports say %v, want %v", got, tc.proxy)
			}
		})
	}
}

func TestGuard(t *testing.T) {
	list := func(n int) map[types.NamespacedName]*v1alpha1.ServiceRuleSliceSpec {
		return listed(&v1alpha1.ServiceRuleSliceSpec{ServiceName: "web", Endpoints: make([]v1alpha1.RuleEndpoint, n)})
	}
	cases := map[string]struct {
		known, listed, quorum int
		quorumErr             error
		wantErr               bool
	}{
		"first list":                     {0, 0, 0, nil, false},
		"small clusters are believed":    {99, 0, 99, nil, false},
		"a third remains":                {300, 100, 300, nil, false},
		"an empty list from a bad cache": {300, 0, 300, nil, true},
		"most are really gone":           {300, 5, 5, nil, false},
		"it cannot be confirmed":         {300, 5, 0, errors.New("no apiserver"), true},
		"the list grows":                 {300, 900, 0, nil, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := guard{known: func() int { return tc.known }, quorum: func(context.Context) (int, error) { return tc.quorum, tc.quorumErr }}
			if err := g.check(t.Context(), list(tc.listed)); (err != nil) != tc.wantErr {
				t.Errorf("got %v, want error: %v", err, tc.wantErr)
			}
		})
	}
}
