// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/fairlead-proxy/fairlead/agent/report"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// TestServedStatus checks that /status says since when a condition holds, not when the
// request was made.
func TestServedStatus(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	r := report.NewWriter(nil, nil, logr.Discard(), clk)
	h := NewHealth(NewMetrics(), clk, nil, r.Conditions)
	h.Set(good())
	since := metav1.Unix(500, 0)
	r.ShowStatus(good().Node.UID, report.StatusOf(good(), nil, since))
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
	failing.Problems = []report.Problem{{Kind: report.KernelError, Err: errors.New("trouble")}}
	departing := good()
	departing.Node.Spec.Node.Departing = true
	cases := map[string]struct {
		outcomes       []report.Snapshot
		waitingSince   time.Time
		after          time.Duration
		healthz, livez int
		proxy          bool
	}{
		"before the first programming":    {nil, time.Time{}, time.Hour, 503, 200, false},
		"programmed":                      {[]report.Snapshot{good()}, time.Time{}, time.Hour, 200, 200, true},
		"H4: the node is about to go":     {[]report.Snapshot{good(), departing}, time.Time{}, time.Second, 503, 200, true},
		"a change waits for a moment":     {[]report.Snapshot{good()}, now, 59 * time.Second, 200, 200, true},
		"a change waits for too long":     {[]report.Snapshot{good()}, now, 61 * time.Second, 503, 503, false},
		"the kernel refuses for a moment": {[]report.Snapshot{good(), failing}, time.Time{}, 59 * time.Second, 200, 200, true},
		"the kernel refuses for too long": {[]report.Snapshot{good(), failing}, time.Time{}, 61 * time.Second, 503, 200, false},
		"the kernel accepts again":        {[]report.Snapshot{good(), failing, good()}, time.Time{}, time.Hour, 200, 200, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			clk := clocktesting.NewFakeClock(now)
			h := NewHealth(NewMetrics(), clk, func() time.Time { return tc.waitingSince }, nil)
			for _, o := range tc.outcomes {
				h.Set(o)
			}
			clk.Step(tc.after)
			for path, want := range map[string]int{"/healthz": tc.healthz, "/livez": tc.livez} {
				w := httptest.NewRecorder()
				h.healthMux().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
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
