// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package notifytest tests the notifications of a dataplane's Watch.
package notifytest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
)

const (
	// wait is how long a notification may take.
	wait = 30 * time.Second
	// Quiet is how long no notification must arrive to count as none.
	Quiet = 200 * time.Millisecond
)

// Notifications has an element for each call of Watch's changed.
type Notifications <-chan struct{}

// Watch watches until the test ends. It returns when the dataplane's Watch has started:
// when it has reported a new address, and then nothing more. watched says whether it
// receives notifications of rules, too.
func Watch(t *testing.T, s *netnstest.Space, d dataplane.Dataplane, watched func() bool) Notifications {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	notified, done := make(chan struct{}, 1000), make(chan error)
	go func() { done <- d.Watch(ctx, func() { notified <- struct{}{} }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if watched() {
			t.Error("the socket is used after Watch has returned")
		}
	})
	for i := range 50 {
		s.Run("ip", "addr", "add", fmt.Sprintf("192.0.2.%d/32", 1+i), "dev", "lo")
		for seen := false; ; seen = true {
			select {
			case <-notified:
				continue
			case <-time.After(Quiet):
			}
			if seen && watched() {
				return notified
			}
			break
		}
	}
	t.Fatal("Watch does not report a new address")
	return nil
}

// Want checks that there is a notification, or that there is none.
func (n Notifications) Want(t *testing.T, want bool) {
	t.Helper()
	patience := Quiet
	if want {
		patience = wait
	}
	select {
	case <-n:
		if !want {
			t.Fatal("notified of a change that is not ours to repair")
		}
	case <-time.After(patience):
		if want {
			t.Fatal("not notified")
		}
	}
}
