// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/fairlead-proxy/fairlead/agent/source"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

const (
	// FieldOwner is the agent's field owner in server-side apply.
	FieldOwner = "fairlead-agent"

	// countsInterval is how often mere changes of counts and digest are written:
	// thousands of nodes must not answer every change with a write.
	countsInterval = time.Minute

	// countsJitter spreads the first such write after a quiet time.
	countsJitter = 5 * time.Second

	// restoreAfter is how long after a write the API may still show an older
	// status before that counts as somebody else's change.
	restoreAfter = 5 * time.Second

	// Back-off of a failed write.
	writeRetryMin = 500 * time.Millisecond
	writeRetryMax = 30 * time.Second
)

// WriteStatus writes a NodeRuleSet's status.
type WriteStatus func(ctx context.Context, uid types.UID, status v1alpha1.NodeRuleSetStatus) error

// Writer writes the newest Snapshot into the NodeRuleSet's status: at
// once if a condition, the mode or the generation changed, else at most once a
// minute.
type Writer struct {
	write WriteStatus
	event WriteEvent
	log   logr.Logger
	clock clock.Clock
	// jitter returns a duration within [0, countsJitter).
	jitter func() time.Duration

	mu       sync.Mutex
	latest   *Snapshot
	shown    *shownStatus       // by the API; nil: nothing since the last write
	reported []metav1.Condition // that the API showed last
	wakeup   chan struct{}

	// Of run's goroutine only.
	written   *v1alpha1.NodeRuleSetStatus
	uid       types.UID
	lastWrite time.Time
	dueCounts time.Time
	retry     time.Duration

	toldRepairs int64 // of which an event told
	lastEvent   time.Time
}

// NewWriter returns a Writer that writes nothing before it has a Snapshot.
func NewWriter(write WriteStatus, event WriteEvent, log logr.Logger, clk clock.Clock) *Writer {
	return &Writer{write: write, event: event, log: log, clock: clk, wakeup: make(chan struct{}, 1),
		jitter: func() time.Duration { return rand.N(countsJitter) }}
}

// Set gives the Writer the newest Snapshot.
func (r *Writer) Set(o Snapshot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.latest = &o
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
			// Outcomes come in bursts; what they have in common is written once.
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
	r.tellRepairs(ctx, latest, now)
	if r.retry > 0 {
		if wait := r.lastWrite.Add(r.retry).Sub(now); wait > 0 {
			return wait
		}
	}
	known := r.written != nil && r.uid == latest.Node.UID
	previous := latest.Node.Reported
	if known {
		previous = r.written.Conditions
	}
	status := StatusOf(*latest, previous, metav1.NewTime(now.Truncate(time.Second)))
	if known && r.retry == 0 {
		wait := r.due(status, now)
		if restore := r.dueRestore(now); restore >= 0 && (wait < 0 || restore < wait) {
			wait = restore
		}
		if wait != 0 {
			return max(wait, 0)
		}
	}
	r.lastWrite, r.dueCounts = now, time.Time{}
	r.forgetShown()
	err := r.write(ctx, latest.Node.UID, status)
	if err != nil && ctx.Err() == nil {
		r.log.Error(err, "Failed to write the status of the NodeRuleSet, will retry")
		r.retry = min(max(2*r.retry, writeRetryMin), writeRetryMax)
		return r.retry
	}
	r.written, r.uid, r.retry = &status, latest.Node.UID, 0
	return 0
}

// tellRepairs makes an event of repairs, at most one a minute. One that cannot be
// written is not tried again: the status has the count.
func (r *Writer) tellRepairs(ctx context.Context, o *Snapshot, now time.Time) {
	if o.Repairs <= r.toldRepairs || now.Sub(r.lastEvent) < countsInterval {
		return
	}
	note := fmt.Sprintf("Somebody else changed Fairlead's rules on this node; they were made right again (%d times since the agent started).", o.Repairs)
	r.toldRepairs, r.lastEvent = o.Repairs, now
	if err := r.event(ctx, o.Node.UID, ReasonRulesRepaired, note); err != nil {
		r.log.Error(err, "Failed to write an event", "note", note)
	}
}

// due returns 0 if status must be written now, a negative duration if it says
// nothing new, else after which time to look again.
func (r *Writer) due(status v1alpha1.NodeRuleSetStatus, now time.Time) time.Duration {
	if reflect.DeepEqual(status, *r.written) {
		return -1
	}
	quiet := status
	quiet.Programmed, quiet.RulesDigest, quiet.Repairs = r.written.Programmed, r.written.RulesDigest, r.written.Repairs
	if !reflect.DeepEqual(quiet, *r.written) {
		return 0
	}
	if r.dueCounts.IsZero() {
		r.dueCounts = now.Add(r.jitter())
		if next := r.lastWrite.Add(countsInterval); next.After(r.dueCounts) {
			r.dueCounts = next
		}
	}
	return max(r.dueCounts.Sub(now), 0)
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
