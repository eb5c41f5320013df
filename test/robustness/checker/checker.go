// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package checker decides which recorded connections must not have been as they were, given
// the history of the endpoints and what was done to the nodes.
package checker

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-proxy/fairlead/test/robustness/history"
	"github.com/fairlead-proxy/fairlead/test/robustness/traffic"
)

// Effect is what a strike may do to connections that a node leads.
type Effect string

const (
	// Blind means that the node cannot learn of changes.
	Blind Effect = "blind"
	// Broken means that the node's rules are damaged from outside, connections may fail.
	Broken Effect = "broken"
)

// Strike is something that was done, and for how long it has an effect.
type Strike struct {
	Name     string
	Effect   Effect
	Node     string // empty: all
	From, To time.Time
}

func (s Strike) on(node string) bool { return s.Node == "" || s.Node == node }

// Rules are what is allowed.
type Rules struct {
	// Lag is how long a node may take to follow a change; what it takes beyond that must be
	// within a Strike that makes it blind.
	Lag     time.Duration
	Strikes []Strike
}

// sorted returns the rules with the last strike first.
func (r Rules) sorted() Rules {
	r.Strikes = slices.SortedFunc(slices.Values(r.Strikes), func(a, b Strike) int { return b.To.Compare(a.To) })
	return r
}

// since is the earliest time of which a node may still have the endpoints at a time: Lag
// before it, not counting the time when the node was blind. The rules are sorted.
func (r Rules) since(node string, at time.Time) time.Time {
	left := r.Lag
	// What is before at and not blind uses up the rest.
	for _, s := range r.Strikes {
		if s.Effect != Blind || !s.on(node) || !s.From.Before(at) {
			continue
		}
		if seeing := at.Sub(s.To); seeing > 0 {
			if seeing >= left {
				break
			}
			left -= seeing
		}
		at = s.From
	}
	return at.Add(-left)
}

func (r Rules) broken(node string, from, to time.Time) bool {
	return slices.ContainsFunc(r.Strikes, func(s Strike) bool {
		return s.Effect == Broken && s.on(node) && s.From.Before(to) && s.To.After(from)
	})
}

// Violation is a connection that must not have been as it was.
type Violation struct {
	traffic.Record
	Why string
}

// Outcome is how a connection ended, with its excuse.
type Outcome string

// Outcomes.
const (
	Answered    Outcome = "answered"
	NoEndpoints Outcome = "failed without endpoints"
	Damaged     Outcome = "failed while rules were broken"
	PodEnded    Outcome = "ended with its Pod"
	Violates    Outcome = "violations"
)

// Counts are the numbers of records.
type Counts map[traffic.Kind]map[Outcome]int

// Add adds other numbers.
func (c Counts) Add(others Counts) {
	for kind, outcomes := range others {
		for outcome, n := range outcomes {
			c.add(kind, outcome, n)
		}
	}
}

func (c Counts) add(kind traffic.Kind, outcome Outcome, n int) {
	if c[kind] == nil {
		c[kind] = map[Outcome]int{}
	}
	c[kind][outcome] += n
}

// String lists the numbers that are not 0.
func (c Counts) String() string {
	var out []string
	for _, kind := range slices.Sorted(maps.Keys(c)) {
		var numbers []string
		for _, outcome := range slices.Sorted(maps.Keys(c[kind])) {
			numbers = append(numbers, fmt.Sprintf("%d %s", c[kind][outcome], outcome))
		}
		out = append(out, string(kind)+"s: "+strings.Join(numbers, ", "))
	}
	return strings.Join(out, "; ")
}

// Check returns the violations, and how all records ended.
func Check(records []traffic.Record, h *history.History, rules Rules) ([]Violation, Counts) {
	var violations []Violation
	counts := Counts{}
	rules = rules.sorted()
	for _, r := range records {
		outcome, why := check(r, h, rules)
		if outcome == Violates {
			violations = append(violations, Violation{r, why})
		}
		counts.add(r.Kind, outcome, 1)
	}
	return violations, counts
}

// check says how a record ended, and of a violation why it is one.
func check(r traffic.Record, h *history.History, rules Rules) (outcome Outcome, why string) {
	key := history.Key{Service: r.To.Service, Family: r.To.Family}
	since := rules.since(r.Via, r.Start)
	// The history is behind the apiserver, too.
	until := r.End.Add(rules.Lag)
	endpoint, failing := h.Usable, r.Start
	switch r.Kind {
	case traffic.Stream:
		// Its Pod was chosen when it began; it may wait for an answer before it breaks.
		until, failing = r.Start.Add(rules.Lag), r.End.Add(-rules.Lag)
	case traffic.Exchange:
		// The flow may be older.
		endpoint = h.Serving
	}
	switch {
	case r.Pod != "" && !endpoint(key, r.Pod, since, until):
		return Violates, fmt.Sprintf("answered by Pod %s, which was no endpoint", r.Pod)
	case r.Err == nil:
		return Answered, ""
	case r.Kind == traffic.Stream && h.Ended(r.Pod, r.End),
		// A flow stays with its Pod until that is no endpoint any more, which no node knows
		// before the Pod has ended.
		r.Kind == traffic.Exchange && h.Ended(r.Before, r.End) && h.Serving(key, r.Before, since, until):
		return PodEnded, ""
	// Without any table for NAT, the kernel does not translate open connections either.
	case rules.broken(r.Via, failing, r.End):
		return Damaged, ""
	case r.Kind == traffic.Stream:
		return Violates, "an open connection broke while its Pod lived: " + r.Err.Error()
	case h.Empty(key, since, until):
		return NoEndpoints, ""
	}
	return Violates, "failed although there were endpoints: " + r.Err.Error()
}

// Report describes the first violations, each with what happened around it.
func Report(violations []Violation, h *history.History, rules Rules, around time.Duration) string {
	const shown = 8
	rules = rules.sorted()
	var out strings.Builder
	fmt.Fprintf(&out, "%d violations\n", len(violations))
	slices.SortStableFunc(violations, func(a, b Violation) int { return a.Start.Compare(b.Start) })
	for i, v := range violations {
		if i == shown {
			fmt.Fprintf(&out, "and %d more\n", len(violations)-shown)
			break
		}
		fmt.Fprintf(&out, "%s %s %s from %s by %s to %s (%s), %v: %s\n", clock(v.Start), v.Kind, v.To.Protocol, v.From, v.Via,
			v.To.Service, v.To.Address, v.End.Sub(v.Start).Round(time.Millisecond), v.Why)
		from, to := rules.since(v.Via, v.Start).Add(-around), v.End.Add(around)
		events := h.Events(history.Key{Service: v.To.Service, Family: v.To.Family}, from, to)
		for _, s := range rules.Strikes {
			if s.From.Before(to) && s.To.After(from) {
				events = append(events, history.Event{At: s.From, Text: fmt.Sprintf("%s: %s is %s until %s", s.Name, cmp.Or(s.Node, "every node"), s.Effect, clock(s.To))})
			}
		}
		slices.SortStableFunc(events, func(a, b history.Event) int { return a.At.Compare(b.At) })
		for _, e := range events {
			fmt.Fprintf(&out, "    %s %s\n", clock(e.At), e.Text)
		}
	}
	return out.String()
}

func clock(t time.Time) string { return t.Format("15:04:05.000") }
