// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// member reads the state of a node at some moment: its name, the number of the revision
// that it is to have ("-": none), and
//
//   - it has been verified for an hour, or for as many seconds as follow
//     ? it has ten seconds to go
//     ! it has not been verified in time
//     x the agent has undone it
//     ~ it was verified and the agent has had a problem, for an hour or so many seconds
//
// in the end z: the node has not been ready for ten seconds.
func member(t *testing.T, text string, now time.Time) Member {
	t.Helper()
	m := Member{Name: text[:1], Ready: !strings.HasSuffix(text, "z")}
	if !m.Ready {
		m.AwaySince = now.Add(-10 * time.Second)
	}
	text = strings.TrimSuffix(text, "z")
	if text[1:] == "-" {
		return m
	}
	m.Assigned = "default-" + text[1:2]
	at, ago := now, time.Hour
	if seconds := text[3:]; seconds != "" {
		var n int
		if _, err := fmt.Sscan(seconds, &n); err != nil {
			t.Fatal(err)
		}
		ago = time.Duration(n) * time.Second
	}
	switch text[2] {
	case '+':
		m.AssignedAt, m.VerifiedAt = at.Add(-ago), at.Add(-ago)
	case '~':
		m.AssignedAt, m.VerifiedAt, m.TroubledSince = at.Add(-time.Hour), at.Add(-time.Hour), at.Add(-ago)
	case '?':
		if ago == time.Hour {
			ago = 50 * time.Second
		}
		m.AssignedAt = at.Add(-ago)
	case '!':
		m.AssignedAt = at.Add(-time.Minute - grace)
	case 'x':
		m.AssignedAt, m.Reverted = at.Add(-5*time.Second), true
	default:
		t.Fatalf("%q", text)
	}
	return m
}

// one has a canary and then three at a time; each stage soaks for 30 seconds.
func one(change ...func(*Rollout)) Rollout {
	now := time.Unix(1_700_000_000, 0)
	r := Rollout{From: older, To: newer, Approved: map[string]bool{}, Now: now, Since: now.Add(-24 * time.Hour), Strategy: Strategy{
		Stages:         []Stage{{Name: "canary", Nodes: 1, MaxUnavailable: 1, Soak: 30 * time.Second}},
		MaxUnavailable: 3, FailureThreshold: 1, NodeDeadline: time.Minute, ProgressDeadline: 10 * time.Minute}}
	for _, f := range change {
		f(&r)
	}
	return r
}

// What changes one.

type do = []func(*Rollout)

func failed(r *Rollout)            { r.Verdict = v1alpha1.VerdictFailed }
func succeeded(r *Rollout)         { r.Verdict = v1alpha1.VerdictSucceeded }
func order(o Order) func(*Rollout) { return func(r *Rollout) { r.Order = o } }
func tolerant(r *Rollout)          { r.Strategy.FailureThreshold = 3 }
func keep(r *Rollout)              { r.Strategy.KeepFailed = true }
func first(r *Rollout)             { r.From = "" }
func paused(r *Rollout)            { r.Strategy.Paused = true }
func approval(r *Rollout)          { r.Strategy.Stages[0].Approval = true }
func approved(r *Rollout)          { r.Approved["canary"] = true }
func only(names string) func(*Rollout) {
	return func(r *Rollout) {
		r.Strategy.Stages[0].Of = map[string]bool{}
		for _, n := range strings.Fields(names) {
			r.Strategy.Stages[0].Of[n] = true
		}
	}
}
func two(r *Rollout)       { r.Strategy.Stages[0].MaxUnavailable, r.Strategy.Stages[0].Nodes = 5, 2 }
func retried(r *Rollout)   { r.Since = r.Now.Add(-time.Second) }
func nowActive(r *Rollout) { r.ActiveSince = r.Now }
func both(r *Rollout)      { r.Strategy.Stages[0].Nodes = 2 }
func alone(r *Rollout)     { r.Strategy.MaxUnavailable = 1 }
func wide(r *Rollout)      { r.Strategy.Stages[0].MaxUnavailable, r.Strategy.Stages[0].Nodes = 3, 4 }

// decisions are what is decided of one, changed, for nodes: the phase, the stage, "name=revision" of
// what is assigned, and the verdict.
var decisions = map[string]struct {
	change      do
	nodes, want string
}{
	"the canary":                       {nil, "a1+ b1+ c1+", "Updating canary a=2"},
	"the canary is one of its nodes":   {do{only("c")}, "a1+ b1+ c1+", "Updating canary c=2"},
	"a stage without nodes is done":    {do{only("x")}, "a1+ b1+", "Updating a=2 b=2"},
	"no more than the stage has":       {do{two}, "a1+ b1+ c1+", "Updating canary a=2 b=2"},
	"it waits for the canary":          {nil, "a2? b1+ c1+", "Verifying canary"},
	"it soaks":                         {nil, "a2+29 b1+ c1+", "Soaking canary"},
	"it has soaked":                    {nil, "a2+30 b1+ c1+ d1+ e1+", "Updating b=2 c=2 d=2"},
	"soaked, though others are new":    {nil, "a2+50 b2+5 c1+ d1+", "Updating c=2 d=2"},
	"a person is to approve":           {do{approval}, "a2+ b1+", "AwaitingApproval canary"},
	"a person has approved":            {do{approval, approved}, "a2+ b1+", "Updating b=2"},
	"promoted":                         {do{approval, order(Promote)}, "a2+1 b1+", "Updating b=2"},
	"no more than may be unavailable":  {nil, "a2+ b2? c2? d1+ e1+", "Updating d=2"},
	"all that may be are unavailable":  {nil, "a2+ b2? c2? d2? e1+", "Updating"},
	"who has a problem is next":        {nil, "a2+ b1+ c1+ d1+ e1+ f1~", "Updating b=2 c=2 f=2"},
	"all have a problem":               {nil, "a2+ b1~ c1~ d1~ e1~ f1~", "Updating b=2 c=2 d=2"},
	"not ready":                        {nil, "a1+z b1+ c1+", "Updating canary b=2"},
	"paused":                           {do{paused}, "a1+ b1+", "Paused canary"},
	"a person pauses":                  {do{order(Pause)}, "a2+ b1+", "Paused"},
	"paused, a node is new":            {do{paused}, "a1+ b-", "Paused canary"},
	"a new node":                       {nil, "a2+29 b-", "Soaking canary"},
	"the first policy":                 {do{first}, "a- b-", "Succeeded Succeeded"},
	"all have it":                      {nil, "a2+ b2+ c2+", "Succeeded Succeeded"},
	"all that are ready have it":       {nil, "a2+ b2+ c1+z", "Succeeded c=2 Succeeded"},
	"later, one is back":               {do{succeeded}, "a2+ b1+ c-", "Succeeded b=2 Succeeded"},
	"undone":                           {nil, "a2x b1+ c1+", "RollingBack a=1 Failed"},
	"not in time":                      {nil, "a2! b1+ c1+", "RollingBack a=1 Failed"},
	"its agent is to say it first":     {nil, "a2?64 b1+ c1+", "Verifying canary"},
	"its agent does not say it":        {nil, "a2?65 b1+ c1+", "RollingBack a=1 Failed"},
	"a problem while it soaks":         {nil, "a2~20 b1+ c1+", "Verifying canary"},
	"a problem that stays":             {nil, "a2~ b1+ c1+", "RollingBack a=1 Failed"},
	"tolerated":                        {do{tolerant}, "a2x b1+ c1+ d1+", "Soaking canary"},
	"tolerated, but it counts":         {do{tolerant}, "a2! b2+ c2? d1+ e1+ f1+", "Updating d=2"},
	"not ready since, and not in time": {nil, "a2!z b1+ c1+", "RollingBack a=1 Failed"},
	"not ready since, it has time":     {nil, "a2?z b1+ c1+", "Verifying canary"},
	"verified, and then not ready":     {nil, "a2+5z b1+ c1+", "Verifying canary"},
	"soaked, and then not ready":       {nil, "a2+50z b1+ c1+ d1+ e1+", "Updating b=2 c=2"},
	"soaked, not ready, it counts":     {do{alone}, "a2+50z b1+ c1+", "Updating"},
	"nothing for too long":             {do{both, only("a b")}, "a2+ b1+ c1~", "RollingBack a=1 Failed"},
	"not for too long since it soaked": {do{both, only("a b"), nowActive}, "a2+ b1+ c1~", "Updating canary"},
	"not ready in the end":             {nil, "a2+ b2+ c2+5z", "Succeeded Succeeded"},
	"nothing can be given":             {do{alone}, "a2+ b2~30 c1+", "Updating"},
	"tried again, given again":         {do{retried}, "a2x b1+ c1+", "Updating canary a=2"},
	"tried again, what works stays":    {do{retried}, "a2+ b2! c1+", "Updating b=2 c=2"},
	"a third revision goes first":      {nil, "a2+ b1+ c1+ d1+ e1+ f0x", "Updating b=2 c=2 f=2"},
	"a third revision is undone":       {do{failed}, "a0x b1+ c1+", "RollingBack a=1 Failed"},
	"failed, and it is to stay":        {do{keep}, "a2! b1+", "Paused Failed"},
	"failed, there is no earlier one":  {do{first}, "a2! b2+", "Paused Failed"},
	"kept, and a person undoes it":     {do{keep, failed, order(Abort)}, "a2! b1+", "RollingBack a=1 Aborted"},
	"succeeded, too late to undo":      {do{succeeded, order(Abort)}, "a2+ b2+", "Succeeded Succeeded"},
	"a person undoes it":               {do{order(Abort)}, "a2+ b2+ c1+", "RollingBack a=1 Aborted"},
	"undone, kept if it has failed":    {do{order(Abort), keep}, "a2+ b1+", "RollingBack a=1 Aborted"},
	"back, one after the other":        {do{failed}, "a1? b2+ c2+", "RollingBack Failed"},
	"back, the next":                   {do{failed}, "a1+ b2+ c2+", "RollingBack b=1 Failed"},
	"back, what has failed at once":    {do{failed}, "a1? b2x c2! d2+", "RollingBack b=1 c=1 Failed"},
	"back, what is away at once":       {do{failed}, "a1? b2+z c2+", "RollingBack b=1 Failed"},
	"back, one does not return":        {do{failed}, "a1! b2+ c2+", "RollingBack b=1 Failed"},
	"back, one still has its time":     {do{failed}, "a1?64 b2+", "RollingBack Failed"},
	"back, but for one":                {do{failed}, "a1! b1+ c1+", "RolledBack Failed"},
	"back, and a node is new":          {do{failed}, "a1+ b-", "RolledBack Failed"},
	"back, and not tried again":        {do{failed}, "a1+ b1+", "RolledBack Failed"},
	"back, whatever a person says":     {do{failed, order(Promote)}, "a2+ b1+", "RollingBack a=1 Failed"},
	"no nodes":                         {nil, "", "Succeeded Succeeded"},
	"undone, and then not ready":       {nil, "a2xz b1+ c1+", "RollingBack a=1 Failed"},
	"tolerated, though not ready":      {do{tolerant}, "a2!z b1+ c1+ d1+", "Soaking canary"},
	"tried again at this moment":       {do{retried}, "a2?1 b1+ c1+", "Verifying canary"},
	"tried again, it is not ready":     {do{retried}, "a2!z b1+ c1+", "Updating canary b=2"},
	"tried again, it begins anew":      {do{both, only("a b"), retried}, "a2+ b1+ c1~", "Updating canary"},
	"the last node begins to soak":     {do{two}, "a2+50 b2+5 c1+ d1+", "Soaking canary"},
	"paused, and promoted":             {do{paused, order(Promote)}, "a1+ b1+", "Paused canary"},
	"not ready, it may come back":      {do{both, only("a b")}, "a2+z b1+ c1+", "Updating canary"},
	"others are unavailable, too":      {do{wide, only("a b c d")}, "a1+ b1+ c1+ d1+ e1~", "Updating canary a=2 b=2"},
	"a third revision, while one goes": {do{failed}, "a0x b1? c2+", "RollingBack a=1 Failed"},
	"back, what is away is no change":  {do{failed}, "a2+z b2+ c1+", "RollingBack a=1 b=1 Failed"},
	"back, and one is away":            {do{failed}, "a1?z b2+", "RollingBack b=1 Failed"},
}

func TestDecide(t *testing.T) {
	for name, c := range decisions {
		t.Run(name, func(t *testing.T) {
			d := Decide(with(t, one(c.change...), c.nodes))
			got := []string{string(d.Phase)}
			if d.Stage != "" {
				got = append(got, d.Stage)
			}
			for _, n := range slices.Sorted(maps.Keys(d.Assign)) {
				got = append(got, n+"="+strings.TrimPrefix(d.Assign[n], "default-"))
			}
			if d.Verdict != "" {
				got = append(got, string(d.Verdict))
			}
			if diff := cmp.Diff(c.want, strings.Join(got, " ")); diff != "" {
				t.Errorf("decision (-want +got):\n%s", diff)
			}
		})
	}
}
