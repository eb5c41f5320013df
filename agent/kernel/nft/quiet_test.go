// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
)

// TestQuietWithin checks that nothing of a large piece of work is received, whatever is done within it:
// a large commit that is quiet itself, or a watch that begins.
func TestQuietWithin(t *testing.T) {
	for name, tc := range map[string]struct {
		early bool // Watch begins before the work
		large int  // elements of a commit within the work
	}{
		"a small commit":                 {true, 1},
		"a large commit":                 {true, LoudOperations + 1},
		"a watch begins":                 {false, 1},
		"a watch begins, a large commit": {false, LoudOperations + 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := netnstest.NewSpace(t)
			c := dial(t, s)
			ctx, cancel := context.WithCancel(t.Context())
			done, last := make(chan error, 1), make(chan struct{})
			var own atomic.Int32
			watch := func() {
				go func() {
					done <- c.Watch(ctx, func(n Change) bool {
						if n.Own {
							own.Add(1)
						}
						if n.Table == "last" {
							close(last)
						}
						return false
					}, func() { t.Error("something is missed") })
				}()
				for deadline := time.Now().Add(time.Minute); !c.Watched(); time.Sleep(time.Millisecond) {
					if time.Now().After(deadline) {
						t.Fatal("not watched")
					}
				}
			}
			if tc.early {
				watch()
			}
			err := c.Quietly(t.Context(), LoudOperations+1, 0, func() error {
				if !tc.early {
					watch()
				}
				_, within := table(t, tc.large)
				if err := c.Commit(t.Context(), within); err != nil {
					return err
				}
				_, after := table(t, 1)
				return c.Commit(t.Context(), after)
			})
			if err != nil {
				t.Fatal(err)
			}
			s.Run("nft", "add", "table", "ip", "last") // notifications arrive in order
			<-last
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if n := own.Load(); n != 0 {
				t.Errorf("%d notifications of the work are received", n)
			}
		})
	}
}
