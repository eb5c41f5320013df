// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package upgrade

import (
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/test/robustness/traffic"
)

// recent is how many connections show which endpoints a node uses: one of three is missing in as many with the probability of 10^-10.
const recent = 60

// way is a node whose rules lead connections, in one family.
type way struct {
	node   string
	family corev1.IPFamily
}

// pair is where connections are from and to.
type pair struct{ from, to string }

// phase is what was recorded while something was done to Fairlead.
type phase struct {
	begin    time.Time
	answered map[pair]int
	total    int
	failed   int
	// newest are the Pods that answered the last connections to "changing".
	newest map[way][]string
}

func (a *arena) begin() {
	a.phase = phase{begin: time.Now(), answered: map[pair]int{}, newest: map[way][]string{}}
}

// take reads the records of connections that have ended. None may have failed, and no long one may have ended.
func (a *arena) take(t *testing.T) {
	t.Helper()
	for _, r := range a.short.Take() {
		a.phase.total++
		if r.Err != nil {
			a.fail(t, r)
			continue
		}
		a.phase.answered[pair{r.From, r.To.Address}]++
		if r.To.Service == "changing" {
			w := way{r.Via, r.To.Family}
			pods := append(a.phase.newest[w], r.Pod)
			a.phase.newest[w] = pods[max(0, len(pods)-recent):]
		}
	}
	for _, r := range a.long.Take() {
		a.fail(t, r)
	}
}

func (a *arena) fail(t *testing.T, r traffic.Record) {
	t.Helper()
	if a.phase.failed++; a.phase.failed <= 10 {
		t.Errorf("a %s from %s to %s (%s) via %s, Pod %q, from %s until %s: %v", r.Kind, r.From, r.To.Service, r.To.Address, r.Via, r.Pod,
			r.Start.Format(time.StampMilli), r.End.Format(time.StampMilli), r.Err)
	}
}

// end waits for more connections, and checks that each source has connected to each address.
func (a *arena) end(t *testing.T) {
	t.Helper()
	before := a.phase.total
	eventually(t, func() error {
		if a.take(t); a.phase.total < before+5*rate {
			return fmt.Errorf("%d more connections", a.phase.total-before)
		}
		return nil
	})
	for _, from := range a.sources {
		for _, to := range slices.Concat(a.steady, a.changing) {
			if a.phase.answered[pair{from.Name, to.Address}] == 0 {
				t.Errorf("no connection from %s to %s (%s) was answered", from.Name, to.Service, to.Address)
			}
		}
	}
	seconds := time.Since(a.phase.begin).Seconds()
	t.Logf("%d connections in %.0f s, %.0f a second; %d failed", a.phase.total, seconds, float64(a.phase.total)/seconds, a.phase.failed)
}

// stop ends the connections, and checks that all long ones were open.
func (a *arena) stop(t *testing.T) {
	t.Helper()
	a.take(t)
	a.short.Stop()
	a.long.Stop()
	for _, r := range a.short.Take() {
		if r.Err != nil {
			a.fail(t, r)
		}
	}
	open := map[pair]bool{}
	for _, r := range a.long.Take() {
		if open[pair{r.From, r.To.Address}] = true; r.Err != nil || r.Kind != traffic.Stream || r.Pod == "" {
			a.fail(t, r)
		}
	}
	if want := len(a.sources) * len(a.steady); len(open) != want {
		t.Errorf("%d long connections were open, want %d", len(open), want)
	}
	t.Logf("%d long connections stayed open", len(open))
}
