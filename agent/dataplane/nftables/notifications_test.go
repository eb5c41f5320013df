// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead-proxy/fairlead/agent/internal/notifytest"
	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// TestLargeCommitsAreNotNotified checks that the kernel sends no notification of a large
// commit of ours, and that changes by others during it are reported.
func TestLargeCommitsAreNotNotified(t *testing.T) {
	s := newSpace(t)
	d, small, large := s.dataplane(), several(3, 2), several(200, 10)
	mustSync(t, d, small)
	notified := watch(t, s, d)
	before := d.generation(t)
	stats := mustApply(t, d, model.Diff(small, large))
	if stats.Operations <= nft.LoudOperations {
		t.Fatalf("%+v is not large", stats)
	}
	notified.Want(t, false)
	if got := d.generation(t); got != before+3 { // with a new chain, and the deletion of one
		t.Errorf("generation %d, was %d", got, before)
	}

	other := func(table string) { s.Run("nft", "add", "table", "ip", table) } // not ours: only the generation shows it
	other("before")
	mustApply(t, d, model.Diff(large, several(200, 11)))
	notified.Want(t, false)
	during := func() error { other("during"); mustApply(t, d, model.Diff(several(200, 11), small)); return nil }
	if err := d.nft.Quietly(t.Context(), nft.LoudOperations+1, 0, during); err != nil {
		t.Fatal(err)
	}
	notified.Want(t, true)
	mustSync(t, d, small)

	s.Run("nft", "flush", "ruleset")
	notified.Want(t, true)
}

// TestNotificationsOfLargeCommits checks which sockets are notified of a large commit.
func TestNotificationsOfLargeCommits(t *testing.T) {
	s := newSpace(t)
	d := s.dataplane()
	mustSync(t, d, several(3, 10))
	var ours atomic.Int32
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- d.nft.Watch(ctx, func(c nft.Change) bool {
			if c.Own {
				ours.Add(1)
			}
			return false
		}, func() {})
	}()
	for deadline := time.Now().Add(time.Minute); !d.nft.Watched(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not watched")
		}
	}
	mustSync(t, d, several(200, 10))
	mustSync(t, d, several(199, 10))
	for deadline := time.Now().Add(time.Minute); ours.Load() < 12 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(notifytest.Quiet) // no more of them
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := ours.Load(); got != 12 {
		t.Errorf("heard of %d changes, want the 12 of the small commit", got)
	}
}
