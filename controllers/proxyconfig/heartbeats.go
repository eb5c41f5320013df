// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package proxyconfig

import (
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// maxSkew is how much later than its time a renewal may arrive. Beyond that the clocks of
// node and controller differ, and the controller's counts.
const maxSkew = 5 * time.Second

// heartbeats is when each node's agent renewed its NodeHeartbeat. A renewal changes nothing
// else, so no ProxyConfig is reconciled for it.
type heartbeats struct {
	mu   sync.Mutex
	last map[string]time.Time
}

// renewed notes a NodeHeartbeat; before is the one that it replaces, nil for the first. It
// returns the time of the renewal before, zero for the first.
func (h *heartbeats) renewed(before, beat *v1alpha1.NodeHeartbeat, now time.Time) time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	previous := h.last[beat.Name]
	if before != nil && before.UID == beat.UID && before.Spec.RenewTime.Equal(&beat.Spec.RenewTime) {
		return previous
	}
	at := beat.Spec.RenewTime.Time
	// The first one may be old: the controller may have just started.
	if late := now.Sub(at); late < 0 || before != nil && late > maxSkew {
		at = now
	}
	if h.last == nil {
		h.last = map[string]time.Time{}
	}
	h.last[beat.Name] = at
	return previous
}

func (h *heartbeats) deleted(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.last, name)
}

// all returns the last renewals by node.
func (h *heartbeats) all() map[string]time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.last)
}

// dueSince is the time since when a report of a node's agent is due: of the last one, or
// of the moment from which there can be one, whichever is later.
func dueSince(node *corev1.Node, set *v1alpha1.NodeRuleSet, renewed time.Time) time.Time {
	since := renewed
	later := func(t time.Time) {
		if t.After(since) {
			since = t
		}
	}
	later(set.CreationTimestamp.Time)
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			later(c.LastTransitionTime.Time)
		}
	}
	return since.Truncate(time.Second)
}
