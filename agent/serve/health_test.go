// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/fairlead-proxy/fairlead/agent/internal/metricstest"
	"github.com/fairlead-proxy/fairlead/agent/report"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// TestAnswers checks what each server answers, besides the code.
func TestAnswers(t *testing.T) {
	now := time.Unix(1000, 0).UTC()
	programmed := good()
	programmed.Programmed.Time = now.Add(-time.Minute)
	departing := programmed
	departing.Node = testNodeRules(1)
	departing.Node.Spec.Node.Departing = true
	const updated, current = `"lastUpdated":"1970-01-01T00:15:40Z"`, `"currentTime":"1970-01-01T00:16:40Z"`
	balancers, kubelet, metrics := (*Health).forBalancers, (*Health).forKubelet, (*Health).forMetrics
	for name, c := range map[string]struct {
		snapshot *report.Snapshot
		handler  func(*Health) http.Handler
		path     string
		code     int
		kind     string // of the content; empty: not compared
		want     string
	}{
		"balancers":                     {&programmed, balancers, "/healthz", 200, "application/json", `{` + updated + `,` + current + `,"nodeEligible":true,"healthy":true}`},
		"of a node that is about to go": {&departing, balancers, "/healthz", 503, "application/json", `{` + updated + `,` + current + `,"nodeEligible":false,"healthy":false}`},
		"alive":                         {&programmed, balancers, "/livez", 200, "application/json", `{` + updated + `,` + current + `,"healthy":true}`},
		"alive, for the kubelet":        {&departing, kubelet, "/livez", 200, "application/json", `{` + updated + `,` + current + `,"healthy":true}`},
		"ready":                         {&programmed, kubelet, "/readyz", 200, "application/json", `{` + updated + `,` + current + `,"healthy":true}`},
		"not programmed":                {nil, balancers, "/livez", 200, "application/json", `{"lastUpdated":"0001-01-01T00:00:00Z",` + current + `,"healthy":true}`},
		"metrics are served":            {nil, metrics, "/healthz", 200, "", "ok"},
		"the mode":                      {&programmed, metrics, "/proxyMode", 200, "", "nftables"},
		"no mode yet":                   {nil, metrics, "/proxyMode", 200, "", ""},
		"the status is not known":       {nil, metrics, "/status", 503, "", "the NodeRuleSet of this node is not known yet"},
		"nothing else for balancers":    {&programmed, balancers, "/readyz", 404, "", "404 page not found"},
		"nothing else for the kubelet":  {&programmed, kubelet, "/healthz", 404, "", "404 page not found"},
	} {
		t.Run(name, func(t *testing.T) {
			h := NewHealth(NewMetrics(), clocktesting.NewFakePassiveClock(now), noTime, noTime, func() bool { return false },
				func() []metav1.Condition { return nil })
			if c.snapshot != nil {
				h.Set(*c.snapshot)
			}
			w := httptest.NewRecorder()
			c.handler(h).ServeHTTP(w, httptest.NewRequest(http.MethodGet, c.path, nil))
			if got := strings.TrimSpace(w.Body.String()); got != c.want || w.Code != c.code {
				t.Errorf("%d: %s\nwant %d: %s", w.Code, got, c.code, c.want)
			}
			if got := w.Header().Get("Content-Type"); c.kind != "" && (got != c.kind || w.Header().Get("X-Content-Type-Options") != "nosniff") {
				t.Errorf("of the type %s", got)
			}
		})
	}
}

// TestAnswersAreCounted checks that each server counts its answers by their code.
func TestAnswersAreCounted(t *testing.T) {
	m := NewMetrics()
	h := NewHealth(m, clocktesting.NewFakePassiveClock(time.Unix(1000, 0)), noTime, noTime, func() bool { return false }, nil)
	for range 2 {
		h.forBalancers().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/healthz", nil))
	}
	h.forKubelet().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/livez", nil))
	for range 3 {
		h.forKubelet().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/readyz", nil))
	}
	for name, c := range map[string]struct {
		code string
		want float64
	}{
		"kubeproxy_proxy_healthz_total": {"503", 2}, "kubeproxy_proxy_livez_total": {"200", 1}, "fairlead_agent_readyz_total": {"503", 3},
	} {
		if got, _ := metricstest.Sample(t, m.Registry, name, c.code); got != c.want {
			t.Errorf("%s of %s: %v, want %v", name, c.code, got, c.want)
		}
	}
}

// TestServedStatus checks that /status says since when a condition holds, not when the
// request was made.
func TestServedStatus(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	r := report.NewWriter(nil, nil, logr.Discard(), clk)
	h := NewHealth(NewMetrics(), clk, nil, nil, nil, r.Conditions)
	h.Set(good())
	since := metav1.Unix(500, 0)
	r.ShowStatus(good().Node.UID, report.StatusOf(good(), nil, since))
	w := httptest.NewRecorder()
	h.forMetrics().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/status", nil))
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
	failing.Problems = []report.Problem{{Kind: report.KernelError, Err: errors.New("trouble")}}
	departing := good()
	departing.Node.Spec.Node.Departing = true
	cases := map[string]struct {
		outcomes       []report.Snapshot
		waitingSince   time.Time
		syncing        bool
		after          time.Duration
		healthz, livez int
		proxy          bool
	}{
		"before the first programming":    {nil, time.Time{}, false, time.Hour, 503, 200, false},
		"programmed":                      {[]report.Snapshot{good()}, time.Time{}, false, time.Hour, 200, 200, true},
		"H4: the node is about to go":     {[]report.Snapshot{good(), departing}, time.Time{}, false, time.Second, 503, 200, true},
		"a change waits for a moment":     {[]report.Snapshot{good()}, now, false, 59 * time.Second, 200, 200, true},
		"a change waits for too long":     {[]report.Snapshot{good()}, now, false, 61 * time.Second, 503, 503, false},
		"the kernel refuses for a moment": {[]report.Snapshot{good(), failing}, time.Time{}, false, 59 * time.Second, 200, 200, true},
		"the kernel refuses for too long": {[]report.Snapshot{good(), failing}, time.Time{}, false, 61 * time.Second, 503, 200, false},
		"the kernel accepts again":        {[]report.Snapshot{good(), failing, good()}, time.Time{}, false, time.Hour, 200, 200, true},
		"a change waits for a minute":     {[]report.Snapshot{good()}, now, false, time.Minute, 200, 200, true},
		"a Sync takes ten minutes":        {[]report.Snapshot{good()}, now, true, 10 * time.Minute, 503, 200, false},
		"a Sync takes long":               {[]report.Snapshot{good()}, now, true, 9 * time.Minute, 503, 200, false},
		"a Sync does not end":             {[]report.Snapshot{good()}, now, true, 11 * time.Minute, 503, 503, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			clk := clocktesting.NewFakeClock(now)
			syncing := func() time.Time {
				if tc.syncing {
					return now
				}
				return time.Time{}
			}
			h := NewHealth(NewMetrics(), clk, func() time.Time { return tc.waitingSince }, syncing, nil, nil)
			for _, o := range tc.outcomes {
				h.Set(o)
			}
			clk.Step(tc.after)
			for path, want := range map[string]int{"/healthz": tc.healthz, "/livez": tc.livez} {
				w := httptest.NewRecorder()
				h.forBalancers().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
				if w.Code != want {
					t.Errorf("%s: got %d, want %d: %s", path, w.Code, want, w.Body)
				}
			}
			if got := h.ProxyHealthy(); got != tc.proxy {
				t.Errorf("health check node ports say %v, want %v", got, tc.proxy)
			}
		})
	}
}

func noTime() time.Time { return time.Time{} }

// leaving makes the node one that is to be cleaned up.
func leaving(s *report.Snapshot) {
	node := *s.Node
	node.Spec.CleanUpSince = &metav1.Time{Time: time.Unix(1000, 0)}
	s.Node, s.Programmed = &node, nil
}

// TestReady checks that the kubelet hears when the kernel holds what the API asks for.
func TestReady(t *testing.T) {
	now := time.Unix(1000, 0)
	change := func(do func(s *report.Snapshot)) *report.Snapshot {
		s := good()
		do(&s)
		return &s
	}
	never := time.Time{}
	cases := map[string]struct {
		snapshot     *report.Snapshot
		unselected   bool
		waitingSince time.Time
		want         int
	}{
		"before the first programming": {nil, false, never, 503},
		"no policy selects the node":   {nil, true, never, 200},
		"programmed":                   {change(func(*report.Snapshot) {}), false, never, 200},
		"an older generation":          {change(func(s *report.Snapshot) { s.Node = testNodeRules(2) }), false, never, 503},
		"from the checkpoint":          {change(func(s *report.Snapshot) { s.FromAPI = false }), false, never, 503},
		"nothing programmed":           {change(func(s *report.Snapshot) { s.Programmed = nil }), false, never, 503},
		"the policy is gone":           {change(func(s *report.Snapshot) { s.NodeGone = true }), false, never, 200},
		"the kernel refuses": {change(func(s *report.Snapshot) {
			s.Problems = []report.Problem{{Kind: report.KernelError, Err: errors.New("trouble")}}
		}), false, never, 503},
		"cleaned up": {change(leaving), false, never, 200},
		"not cleaned up": {change(func(s *report.Snapshot) {
			leaving(s)
			s.Problems = []report.Problem{{Kind: report.NodeCleanup, Err: errors.New("trouble")}}
		}), false, never, 503},
		"cleaned up, says the checkpoint": {change(func(s *report.Snapshot) { leaving(s); s.FromAPI = false }), false, never, 503},
		"degraded": {change(func(s *report.Snapshot) {
			s.Problems = []report.Problem{{Kind: report.ListenFailed, Err: errors.New("in use")}}
		}), false, never, 200},
		"the loop is stuck": {change(func(*report.Snapshot) {}), false, now.Add(-61 * time.Second), 503},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			h := NewHealth(NewMetrics(), clocktesting.NewFakeClock(now), func() time.Time { return tc.waitingSince }, noTime,
				func() bool { return tc.unselected }, nil)
			if tc.snapshot != nil {
				h.Set(*tc.snapshot)
			}
			w := httptest.NewRecorder()
			h.forKubelet().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
			if w.Code != tc.want {
				t.Errorf("got %d, want %d: %s", w.Code, tc.want, w.Body)
			}
		})
	}
}

// TestHealthOfManyFailures checks that a node whose programming fails again and again is not
// healthy, however often it is tried.
func TestHealthOfManyFailures(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	h := NewHealth(NewMetrics(), clk, noTime, noTime, nil, nil)
	failing := good()
	failing.Problems = []report.Problem{{Kind: report.KernelError, Err: errors.New("trouble")}}
	h.Set(good())
	for i := range 8 {
		h.Set(failing)
		if want := i <= 6; h.ProxyHealthy() != want {
			t.Errorf("after %d s: healthy %v", 10*i, !want)
		}
		clk.Step(10 * time.Second)
	}
	h.Set(good())
	if !h.ProxyHealthy() {
		t.Error("it is programmed again, and not healthy")
	}
}
