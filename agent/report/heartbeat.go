// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/fairlead-proxy/fairlead/agent/backoff"
	"github.com/fairlead-proxy/fairlead/agent/source"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

const (
	// heartbeatInterval is how often a heartbeat is written. The controller misses it
	// after a minute.
	heartbeatInterval = 15 * time.Second

	// Back-off of a failed heartbeat. Many agents fail at once when the apiserver does.
	heartbeatRetryMin    = time.Second
	heartbeatRetryMax    = 5 * time.Second
	heartbeatRetryJitter = 0.5
)

// WriteHeartbeat renews the node's NodeHeartbeat. owner is the UID of its NodeRuleSet.
type WriteHeartbeat func(ctx context.Context, owner types.UID, now time.Time) error

// Heartbeat reports to the controller that the agent runs.
type Heartbeat struct {
	write WriteHeartbeat
	alive func() bool
	log   logr.Logger
	clock clock.Clock

	mu    sync.Mutex
	owner types.UID // the NodeRuleSet; empty: there is none
}

// NewHeartbeat returns a Heartbeat that beats while alive returns true and a ProxyConfig
// selects the node.
func NewHeartbeat(write WriteHeartbeat, alive func() bool, log logr.Logger, clk clock.Clock) *Heartbeat {
	return &Heartbeat{write: write, alive: alive, log: log, clock: clk}
}

// Set takes the newest snapshot.
func (h *Heartbeat) Set(s Snapshot) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.owner = ""
	if s.FromAPI && !s.NodeGone {
		h.owner = s.Node.UID
	}
}

func (h *Heartbeat) wanted() types.UID {
	if !h.alive() {
		return ""
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.owner
}

// Run beats until ctx ends. It begins after an interval: an agent that crashes soon after
// each start does not count as running.
func (h *Heartbeat) Run(ctx context.Context) {
	retry := backoff.Backoff{Min: heartbeatRetryMin, Max: heartbeatRetryMax, Jitter: heartbeatRetryJitter}
	failing := false
	for wait := heartbeatInterval; ; {
		select {
		case <-ctx.Done():
			return
		case <-h.clock.After(wait):
		}
		wait = heartbeatInterval
		owner := h.wanted()
		if owner == "" {
			continue
		}
		err := h.write(ctx, owner, h.clock.Now())
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			retry.Reset()
		default:
			wait = retry.Next()
			if !failing {
				h.log.Error(err, "Failed to write the heartbeat, will retry")
			}
		}
		failing = err != nil
	}
}

// NodeHeartbeats writes a node's heartbeat through the API.
func NodeHeartbeats(client *source.Client, nodeName string) WriteHeartbeat {
	return func(ctx context.Context, owner types.UID, now time.Time) error {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		body, err := json.Marshal(&v1alpha1.NodeHeartbeat{
			TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "NodeHeartbeat"},
			ObjectMeta: metav1.ObjectMeta{Name: nodeName, OwnerReferences: []metav1.OwnerReference{{
				APIVersion: v1alpha1.GroupVersion.String(), Kind: "NodeRuleSet", Name: nodeName, UID: owner}}},
			Spec: v1alpha1.NodeHeartbeatSpec{RenewTime: metav1.NewTime(now)},
		})
		if err != nil {
			return fmt.Errorf("encode the heartbeat: %w", err)
		}
		return client.Patch(types.ApplyYAMLPatchType).Resource("nodeheartbeats").Name(nodeName).
			Param("fieldManager", FieldOwner).Param("force", "true").Body(body).Do(ctx).Error()
	}
}
