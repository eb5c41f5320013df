// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package newstest tests what a dataplane hears of the kernel.
package newstest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
)

const (
	// wait is how long the kernel may take to tell.
	wait = 5 * time.Second
	// Quiet is how long silence must last to count as one.
	Quiet = 200 * time.Millisecond
)

// News is what a Watch tells.
type News <-chan struct{}

// Watch watches until the test ends. It returns when Watch has begun: when it tells of
// a new address, and then of nothing more. watched says whether it hears of rules, too.
func Watch(t *testing.T, s *netnstest.Space, d dataplane.Dataplane, watched func() bool) News {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	news, done := make(chan struct{}, 1000), make(chan error)
	go func() { done <- d.Watch(ctx, func() { news <- struct{}{} }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if watched() {
			t.Error("Watch has ended, and its socket is still used")
		}
	})
	for i := range 50 {
		s.Run("ip", "addr", "add", fmt.Sprintf("192.0.2.%d/32", 1+i), "dev", "lo")
		for told := false; ; told = true {
			select {
			case <-news:
				continue
			case <-time.After(Quiet):
			}
			if told && watched() {
				return news
			}
			break
		}
	}
	t.Fatal("Watch tells of no address")
	return nil
}

// Want checks that there is news, or that there is none.
func (n News) Want(t *testing.T, want bool) {
	t.Helper()
	patience := Quiet
	if want {
		patience = wait
	}
	select {
	case <-n:
		if !want {
			t.Fatal("told of something that is not ours to repair")
		}
	case <-time.After(patience):
		if want {
			t.Fatal("not told")
		}
	}
}
