// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"cmp"
	"slices"
	"time"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// grace is how much longer than a deadline the controller waits. The agent counts from when it sees
// what it was given, undoes it by itself and says why: that has to come first.
const grace = 5 * time.Second

// Rollout is what is known of a rollout at some moment. Nothing of it is in memory, so a
// restart of the controller changes nothing.
type Rollout struct {
	// From is the revision to return to; empty: there is none. To is the new one.
	From, To string

	Strategy Strategy
	Verdict  v1alpha1.RolloutVerdict // as stored: after a rollback the nodes show nothing of the failure
	Order    Order                   // of a person
	Approved map[string]bool         // stages
	Members  []Member                // the nodes of the policy
	Now      time.Time

	// ActiveSince is since when nodes get the revision or verify it, and it neither soaks nor
	// waits for a person.
	ActiveSince time.Time

	// Since is when it began, or when a person last had it tried again: what a node was given
	// before and has not verified counts as not given.
	Since time.Time
}

// Decision is what to do now.
type Decision struct {
	Phase v1alpha1.RolloutPhase

	// Stage is the name of the current stage; empty: the last one, or none.
	Stage string

	// Assign has the revision of each node that is to get another one, or the same again.
	Assign map[string]string

	// Verdict is to be stored before anything is assigned.
	Verdict v1alpha1.RolloutVerdict

	// Failed, Lagging and Skipped are nodes by name: that failed the new revision, that are to
	// return to the old one and do not in time, and that are not ready.
	Failed, Lagging, Skipped []string

	// Stages are the counts of the strategy's stages, and of the last one, which has no name.
	Stages []Counts
}

// Counts are numbers of nodes in a stage: how many are to have the revision after it, and how
// many of all that may be in it have it, run it, and have failed it.
type Counts struct {
	Name                             string
	Total, Updated, Verified, Failed int
}

// Decide says what to do now.
func Decide(r Rollout) Decision {
	r.Members = slices.DeleteFunc(slices.Clone(r.Members), func(m Member) bool { return m.Assigned == "" })
	slices.SortFunc(r.Members, func(a, b Member) int { return cmp.Compare(a.Name, b.Name) })
	d := Decision{Assign: map[string]string{}, Verdict: r.Verdict}
	for _, m := range r.Members {
		if r.failed(m) {
			d.Failed = append(d.Failed, m.Name)
		} else if !m.Ready {
			d.Skipped = append(d.Skipped, m.Name)
		}
	}
	switch {
	case r.Order == Abort && d.Verdict != v1alpha1.VerdictSucceeded:
		d.Verdict = v1alpha1.VerdictAborted
	case d.Verdict == "" && len(d.Failed) >= max(1, r.Strategy.FailureThreshold):
		d.Verdict = v1alpha1.VerdictFailed
	}
	if d.Verdict == "" {
		r.advance(&d)
	}
	switch d.Verdict {
	case v1alpha1.VerdictSucceeded:
		r.finish(&d)
	case v1alpha1.VerdictFailed, v1alpha1.VerdictAborted:
		r.undo(&d)
	}
	for _, s := range r.stages() {
		d.Stages = append(d.Stages, r.count(s))
	}
	return d
}

// has says that a node has been given the new revision in this attempt.
func (r Rollout) has(m Member) bool {
	return m.Assigned == r.To && (m.good() || !m.AssignedAt.Before(r.Since))
}

// overdue says that a node has had its time, to verify what it was given or to recover.
func (r Rollout) overdue(m Member) bool {
	return !r.Now.Before(later(r.due(m), m.TroubledSince.Add(r.Strategy.NodeDeadline)))
}

// due is until when a node has to verify what it was given.
func (r Rollout) due(m Member) time.Time {
	return m.AssignedAt.Add(r.Strategy.NodeDeadline + grace)
}

// failed says that a node does not run the new revision, and will not. One that has run it and is
// not ready, for example because it is booted, does not count: it holds its place until it is back, and
// for no longer than the rollout may stand still.
func (r Rollout) failed(m Member) bool {
	return r.has(m) && !m.good() && (m.Reverted || r.overdue(m))
}

// unavailable says that a node changes, or does not run what it is to run. One that is not ready
// counts if it has the new revision, which may be the cause.
func (r Rollout) unavailable(m Member) bool {
	if !m.Ready {
		return r.has(m)
	}
	return !m.good()
}

// settledAt is when a node had the new revision verified, or failed it.
func (r Rollout) settledAt(m Member) (time.Time, bool) {
	switch {
	case !r.has(m):
		return time.Time{}, false
	case m.good():
		return m.VerifiedAt, true
	case r.failed(m):
		return r.due(m), true
	}
	return time.Time{}, false
}

// stages are those of the strategy and the last one, for all that are left.
func (r Rollout) stages() []Stage {
	last := Stage{Nodes: len(r.Members), MaxUnavailable: r.Strategy.MaxUnavailable}
	return append(slices.Clone(r.Strategy.Stages), last)
}

// mayHave says that a node counts in a stage.
func (r Rollout) mayHave(s Stage, m Member) bool {
	return (s.Of == nil || s.Of[m.Name]) && (m.Ready || r.has(m))
}

// count counts the nodes of a stage.
func (r Rollout) count(s Stage) Counts {
	c := Counts{Name: s.Name}
	for _, m := range r.Members {
		if !r.mayHave(s, m) {
			continue
		}
		c.Total++
		if r.has(m) {
			c.Updated++
		}
		if r.has(m) && m.good() {
			c.Verified++
		}
		if r.failed(m) {
			c.Failed++
		}
	}
	c.Total = min(c.Total, s.Nodes)
	return c
}

// advance brings the revision to the next nodes.
func (r Rollout) advance(d *Decision) {
	for _, s := range r.stages() {
		d.Stage = s.Name
		full, since := r.full(s)
		switch {
		case !full && (r.Order == Pause || r.Strategy.Paused):
			d.Phase = v1alpha1.RolloutPaused
		case !full:
			d.Phase = v1alpha1.RolloutVerifying
			if r.update(s, d) {
				d.Phase = v1alpha1.RolloutUpdating
			}
			if len(d.Assign) == 0 && r.stuck() {
				d.Verdict = v1alpha1.VerdictFailed
			}
		case r.Order != Promote && r.Now.Sub(since) < s.Soak:
			d.Phase = v1alpha1.RolloutSoaking
		case r.Order != Promote && s.Approval && !r.Approved[s.Name]:
			d.Phase = v1alpha1.RolloutAwaitingApproval
		default:
			continue
		}
		return
	}
	d.Verdict = v1alpha1.VerdictSucceeded
}

// full says whether a stage has its nodes, and since when: a later stage adds nodes that were
// settled later, so the time stays. A node that is not ready is waited for unless it had soaked
// before: the revision may be the cause.
func (r Rollout) full(s Stage) (full bool, since time.Time) {
	var settled []time.Time
	eligible := 0
	for _, m := range r.Members {
		if !r.mayHave(s, m) {
			continue
		}
		eligible++
		if at, ok := r.settledAt(m); ok && (m.Ready || r.failed(m) || max(0, m.AwaySince.Sub(m.VerifiedAt)) >= s.Soak) {
			settled = append(settled, at)
		}
	}
	quota := min(s.Nodes, eligible)
	if len(settled) < quota {
		return false, time.Time{}
	}
	if quota > 0 {
		slices.SortFunc(settled, time.Time.Compare)
		since = settled[quota-1]
	}
	return true, since
}

// update assigns the revision to nodes of a stage: first those that do not run what they are to
// run, which costs no traffic. So many nodes may have it and not run it; and a node that works
// gets it only if no more than that are unavailable then. It says whether the stage has not all yet.
func (r Rollout) update(s Stage, d *Decision) (more bool) {
	unavailable, pending, quota := 0, 0, s.Nodes
	var candidates []Member
	for _, m := range r.Members {
		if r.unavailable(m) {
			unavailable++
			if r.has(m) {
				pending++
			}
		}
		switch {
		case !r.mayHave(s, m):
		case r.has(m):
			quota--
		default:
			candidates = append(candidates, m)
		}
	}
	slices.SortStableFunc(candidates, func(a, b Member) int { return compareBy(a, b, Member.good) })
	limit := max(1, s.MaxUnavailable)
	for _, m := range candidates {
		if quota <= 0 {
			return more
		}
		more = true
		if pending >= limit || m.good() && unavailable >= limit {
			return true
		}
		d.Assign[m.Name] = r.To
		quota--
		pending++
		if m.good() {
			unavailable++
		}
	}
	return more
}

// stuck says that nothing has happened for too long.
func (r Rollout) stuck() bool {
	last := later(r.Since, r.ActiveSince)
	for _, m := range r.Members {
		if r.has(m) {
			last = later(last, m.AssignedAt, m.VerifiedAt, m.TroubledSince, m.AwaySince)
		}
	}
	return r.Now.Sub(last) >= r.Strategy.ProgressDeadline+grace
}

// finish gives the revision to all that have not got it: they were not ready.
func (r Rollout) finish(d *Decision) {
	d.Phase, d.Stage = v1alpha1.RolloutSucceeded, ""
	for _, m := range r.Members {
		if m.Assigned != r.To {
			d.Assign[m.Name] = r.To
		}
	}
}

// undo returns to the old revision: at once where the new one failed, and where nothing is
// forwarded; elsewhere as many nodes as may be unavailable. A node that does not return in time holds
// up no other.
func (r Rollout) undo(d *Decision) {
	if r.From == "" || d.Verdict == v1alpha1.VerdictFailed && r.Strategy.KeepFailed {
		d.Phase = v1alpha1.RolloutPaused
		return
	}
	d.Phase, d.Stage = v1alpha1.RolloutRolledBack, ""
	changing := 0
	var good []Member
	for _, m := range r.Members {
		switch {
		case m.Assigned != r.From && (!m.Ready || !m.good()):
			d.Assign[m.Name] = r.From
			d.Phase = v1alpha1.RolloutRollingBack
			if m.Ready {
				changing++
			}
		case m.Assigned != r.From:
			good = append(good, m)
			d.Phase = v1alpha1.RolloutRollingBack
		case !m.Ready || m.good():
		case r.overdue(m):
			d.Lagging = append(d.Lagging, m.Name)
		default:
			changing++
			d.Phase = v1alpha1.RolloutRollingBack
		}
	}
	room := max(0, r.maxUnavailable()-changing)
	for _, m := range good[:min(room, len(good))] {
		d.Assign[m.Name] = r.From
	}
}

// maxUnavailable is the smallest of all stages.
func (r Rollout) maxUnavailable() int {
	out := max(1, r.Strategy.MaxUnavailable)
	for _, s := range r.Strategy.Stages {
		out = min(out, max(1, s.MaxUnavailable))
	}
	return out
}

// later returns the latest of some times.
func later(times ...time.Time) time.Time {
	return slices.MaxFunc(times, time.Time.Compare)
}

// compareBy orders members for which is is not true before those for which it is, then by name.
func compareBy(a, b Member, is ...func(Member) bool) int {
	for _, f := range is {
		switch {
		case f(a) == f(b):
		case f(a):
			return 1
		default:
			return -1
		}
	}
	return cmp.Compare(a.Name, b.Name)
}
