// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package netdev

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
	"github.com/fairlead-proxy/fairlead/agent/kernel/sysctl"
)

// TestWatchAddresses adds addresses of each family until a change is noticed.
func TestWatchAddresses(t *testing.T) {
	for name, address := range map[string]string{"IPv4": "192.0.2.%d/32", "IPv6": "2001:db8::%d/128"} {
		t.Run(name, func(t *testing.T) {
			s := netnstest.NewSpace(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			defer time.AfterFunc(time.Minute, cancel).Stop()
			noticed, done := make(chan struct{}, 1), make(chan error)
			go func() {
				done <- WatchAddresses(int(s.Handle))(ctx, func() {
					select {
					case noticed <- struct{}{}:
					default:
					}
				})
			}()
			for i := 1; ; i++ {
				s.Run("ip", "address", "add", fmt.Sprintf(address, i%250), "dev", "lo")
				s.Run("ip", "address", "del", fmt.Sprintf(address, i%250), "dev", "lo")
				select {
				case <-noticed:
					cancel()
					if err := <-done; err != nil {
						t.Error(err)
					}
					return
				case err := <-done:
					t.Fatalf("no change is noticed: %v", err)
				default: // it may not watch yet
				}
			}
		})
	}
}

// TestIPv6Error is why a node has no IPv6.
func TestIPv6Error(t *testing.T) {
	for name, tc := range map[string]struct {
		value string // empty: the kernel has no such parameter
		want  string // in the error; empty: it has IPv6
	}{
		"it has":       {"0", ""},
		"disabled":     {"1", "net/ipv6/conf/all/disable_ipv6 is 1"},
		"not built in": {"", "the kernel does not support IPv6"},
	} {
		t.Run(name, func(t *testing.T) {
			tree := sysctl.Tree{Root: t.TempDir()}
			if tc.value != "" {
				path := filepath.Join(tree.Root, "net/ipv6/conf/all/disable_ipv6")
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(tc.value+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			err := IPv6Error(tree)
			if (err != nil) != (tc.want != "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}
