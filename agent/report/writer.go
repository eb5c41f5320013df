// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/fairlead-proxy/fairlead/agent/backoff"
	"github.com/fairlead-proxy/fairlead/agent/source"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

const (
	// FieldOwner is the agent's field owner in server-side apply.
	FieldOwner = "fairlead-agent"

	// repairsInterval is the least time between two events of repairs.
	repairsInterval = time.Minute

	// heldInterval is the time after which what is still held is an event again.
	heldInterval = time.Hour

	// Back-off of a failed write.
	writeRetryMin    = 500 * time.Millisecond
	writeRetryMax    = 30 * time.Second
	writeRetryJitter = 0.2
)

// WriteStatus writes a NodeRuleSet's status.
type WriteStatus func(ctx context.Context, uid types.UID, status v1alpha1.NodeRuleSetStatus) error

// Writer writes the newest Snapshot into the NodeRuleSet's status, when nextWrite says so.
type Writer struct {
	write  WriteStatus
	event  WriteEvent
	log    logr.Logger
	clock  clock.Clock
	random func() float64 // in [0, 1), for jitter

	mu       sync.Mutex
	latest   *Snapshot
	shown    *shownStatus       // by the API; nil: nothing since the last write
	reported []metav1.Condition // that the API showed last
	wakeup   chan struct{}

	// Of Run's goroutine only.
	written *v1alpha1.NodeRuleSetStatus
	uid     types.UID
	state   writeState
	backoff backoff.Backoff

	notifiedRepairs int64 // of which an event was written
	notifiedReturns int64
	lastEvent       time.Time
	notifiedHeld    time.Time // zero: nothing is held, or it is not worth an event yet
}

// NewWriter returns a Writer that writes nothing before it has a Snapshot.
func NewWriter(write WriteStatus, event WriteEvent, log logr.Logger, clk clock.Clock) *Writer {
	return &Writer{write: write, event: event, log: log, clock: clk, random: rand.Float64, wakeup: make(chan struct{}, 1),
		backoff: backoff.Backoff{Min: writeRetryMin, Max: writeRetryMax, Jitter: writeRetryJitter}}
}

// Set gives the Writer the newest Snapshot.
func (r *Writer) Set(s Snapshot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.latest = &s
	select {
	case r.wakeup <- struct{}{}:
	default:
	}
}

// Run writes until ctx ends.
func (r *Writer) Run(ctx context.Context) {
	for {
		var timer <-chan time.Time
		if wait := r.step(ctx); wait > 0 {
			timer = r.clock.After(wait)
		}
		select {
		case <-ctx.Done():
			return
		case <-r.wakeup:
			// Snapshots come in bursts; what they have in common is written once.
		case <-timer:
		}
	}
}

// step writes what is due and returns when to look again; 0: when woken.
func (r *Writer) step(ctx context.Context) time.Duration {
	r.mu.Lock()
	latest := r.latest
	r.mu.Unlock()
	if latest == nil || latest.Node == nil || latest.NodeGone || !latest.FromAPI {
		return 0
	}
	now := r.clock.Now()
	r.notifyRepairs(ctx, latest, now)
	r.notifyReturn(ctx, latest)
	r.notifyHeld(ctx, latest, now)
	if latest.Node.UID != r.uid {
		r.written = nil // another object of the same name
	}
	previous := latest.Node.Reported
	if r.written != nil {
		previous = r.written.Conditions
	}
	status := StatusOf(*latest, previous, metav1.NewTime(now.Truncate(time.Second)))
	r.note(changeOf(r.written, status), now)
	at, due := nextWrite(r.state)
	if !due {
		return 0
	}
	if wait := at.Sub(now); wait > 0 {
		return wait
	}
	r.forgetShown()
	err := r.write(ctx, latest.Node.UID, status)
	if err != nil && ctx.Err() == nil {
		r.log.Error(err, "Failed to write the status of the NodeRuleSet, will retry")
		pause := r.backoff.Next()
		r.state.wrote(now, pause, r.random())
		return pause
	}
	r.backoff.Reset()
	r.state.wrote(now, 0, r.random())
	r.written, r.uid = &status, latest.Node.UID
	return 0
}

// note notes how the newest status differs from what was written and what the API shows.
func (r *Writer) note(c change, now time.Time) {
	if r.state.change == unchanged || c == unchanged {
		r.state.since = now
	}
	r.state.change, r.state.drifted = c, r.drifted()
}

// notifyRepairs makes an event of repairs, at most one a minute. One that cannot be
// written is not tried again: the status has the count.
func (r *Writer) notifyRepairs(ctx context.Context, s *Snapshot, now time.Time) {
	if s.Repairs.Count <= r.notifiedRepairs || now.Sub(r.lastEvent) < repairsInterval {
		return
	}
	note := fmt.Sprintf("Rules were modified externally and have been restored (%d times since the agent started).", s.Repairs.Count)
	r.notifiedRepairs, r.lastEvent = s.Repairs.Count, now
	if err := r.event(ctx, s.Node.UID, v1alpha1.EventRulesRepaired, note); err != nil {
		r.log.Error(err, "Failed to write an event", "note", note)
	}
}

// notifyHeld makes an event when removals are held, and of those that last.
func (r *Writer) notifyHeld(ctx context.Context, s *Snapshot, now time.Time) {
	err := s.Problem(RemovalHeld)
	switch {
	case err == nil:
		r.notifiedHeld = time.Time{}
		return
	case !r.notifiedHeld.IsZero() && now.Sub(r.notifiedHeld) < heldInterval:
		return
	}
	r.notifiedHeld = now
	note := fmt.Sprintf("Rules of %d ServiceRuleSlices with %d endpoints are kept, although the slices are gone or lost most endpoints: %s",
		s.Held.Slices, s.Held.Endpoints, OneLine(err.Error()))
	if err := r.event(ctx, s.Node.UID, v1alpha1.EventRemovalHeld, note); err != nil {
		r.log.Error(err, "Failed to write an event", "note", note)
	}
}

// notifyReturn makes an event when the node has returned to the policy before. One that cannot be
// written is not tried again: the status says the same.
func (r *Writer) notifyReturn(ctx context.Context, s *Snapshot) {
	err := s.Problem(RevisionReverted)
	if s.Returns <= r.notifiedReturns || err == nil {
		return
	}
	r.notifiedReturns = s.Returns
	note := OneLine(err.Error())
	if err := r.event(ctx, s.Node.UID, v1alpha1.EventRevisionReverted, note); err != nil {
		r.log.Error(err, "Failed to write an event", "note", note)
	}
}

// NodeStatus writes a node's status through the API. The UID keeps a status
// from ending up in a younger object of the same name.
func NodeStatus(client *source.Client, nodeName string) WriteStatus {
	return func(ctx context.Context, uid types.UID, status v1alpha1.NodeRuleSetStatus) error {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		body, err := json.Marshal(map[string]any{
			"apiVersion": v1alpha1.GroupVersion.String(),
			"kind":       "NodeRuleSet",
			"metadata":   map[string]any{"name": nodeName, "uid": uid},
			"status":     status,
		})
		if err != nil {
			return fmt.Errorf("encode the status: %w", err)
		}
		err = client.Patch(types.ApplyYAMLPatchType).Resource("noderulesets").Name(nodeName).SubResource("status").
			Param("fieldManager", FieldOwner).Param("force", "true").Body(body).Do(ctx).Error()
		if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			// The object is gone or was replaced; the watch will say so.
			return nil
		}
		return err
	}
}
