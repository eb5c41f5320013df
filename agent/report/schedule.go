// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"reflect"
	"time"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

const (
	// countsInterval is how often mere changes of counts and names are written:
	// thousands of nodes must not answer every change with a write.
	countsInterval = time.Minute

	// countsJitter spreads the first such write after a quiet time.
	countsJitter = 5 * time.Second

	// restoreAfter is how long after a write the API may still show an older
	// status before that counts as an external change.
	restoreAfter = 5 * time.Second

	// Changed conditions are written at once, but of many in a row at most
	// conditionBurst, and one each conditionInterval after them.
	conditionInterval = 10 * time.Second
	conditionBurst    = 4
)

// change is how much a status differs from the one that was written last.
type change int

const (
	unchanged   change = iota
	newCounts          // counts, the digest, the Services that limitations name
	newContents        // conditions, capabilities, messages of limitations
	newState           // the first one, or another mode, policy, revision, phase of it or generation
)

// changeOf compares a status with the one written before; nil: there is none.
func changeOf(written *v1alpha1.NodeRuleSetStatus, s v1alpha1.NodeRuleSetStatus) change {
	switch {
	case written == nil:
		return newState
	case reflect.DeepEqual(s, *written):
		return unchanged
	case s.Mode != written.Mode || s.ObservedGeneration != written.ObservedGeneration ||
		s.AppliedRevision != written.AppliedRevision || !reflect.DeepEqual(s.Policy, written.Policy) || !samePhase(s.Revision, written.Revision):
		return newState
	case reflect.DeepEqual(withoutCounts(s), withoutCounts(*written)):
		return newCounts
	}
	return newContents
}

// samePhase says whether two reports of a revision differ in nothing that a rollout waits for.
func samePhase(a, b *v1alpha1.RevisionStatus) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Name == b.Name && a.AssignedTime.Equal(b.AssignedTime) && a.Phase == b.Phase
}

func withoutCounts(s v1alpha1.NodeRuleSetStatus) v1alpha1.NodeRuleSetStatus {
	s.Programmed, s.RulesDigest, s.Repairs, s.Held = nil, "", nil, nil
	var kinds []v1alpha1.Limitation
	for _, l := range s.Limitations {
		kinds = append(kinds, v1alpha1.Limitation{Reason: l.Reason, Message: l.Message})
	}
	s.Limitations = kinds
	return s
}

// writeState is what the time of the next write depends on, besides what there is to
// write.
type writeState struct {
	last   time.Time     // of the last try
	pause  time.Duration // after a failure; 0: it succeeded
	credit time.Time     // when all that was written would have been, one each conditionInterval
	jitter float64       // of the next write, from 0 to 1

	change  change
	since   time.Time // of change: when the status first differed
	drifted bool      // the API shows another status than the one written
}

// wrote notes a try. Changes of the state do not wait for the credit, and use it up; conditions after
// any number of them wait as after a burst.
func (s *writeState) wrote(now time.Time, pause time.Duration, jitter float64) {
	credit := s.credit
	if credit.Before(now) {
		credit = now
	}
	credit = credit.Add(conditionInterval)
	if most := now.Add(conditionBurst * conditionInterval); credit.After(most) {
		credit = most
	}
	*s = writeState{last: now, pause: pause, credit: credit, jitter: jitter}
}

// nextWrite says when to write; false: not before something changes.
func nextWrite(s writeState) (time.Time, bool) {
	if s.pause > 0 {
		return s.last.Add(s.pause), true
	}
	spread := func(d time.Duration) time.Duration { return time.Duration(s.jitter * float64(d)) }
	var at time.Time
	switch s.change {
	case newState:
		at = s.since
	case newContents:
		at = s.since
		if next := s.credit.Add(-(conditionBurst - 1) * conditionInterval); next.After(at) {
			at = next.Add(spread(conditionInterval / 2))
		}
	case newCounts:
		at = s.since.Add(spread(countsJitter))
		if next := s.last.Add(countsInterval); next.After(at) {
			at = next
		}
	}
	if restore := s.last.Add(restoreAfter); s.drifted && (s.change == unchanged || restore.Before(at)) {
		return restore, true
	}
	return at, s.change != unchanged
}
