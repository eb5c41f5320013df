// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// newsWait is how long the kernel may take to tell; quietWait is how long silence
// must last to count as one.
const (
	newsWait  = 5 * time.Second
	quietWait = 200 * time.Millisecond
)

func TestWatch(t *testing.T) {
	cases := map[string]struct {
		change func(s *space, d *Dataplane)
		want   bool
	}{
		"the ruleset is flushed": {func(s *space, _ *Dataplane) { s.run("nft", "flush", "ruleset") }, true},
		"an element is deleted": {func(s *space, _ *Dataplane) {
			s.run("nft", "delete", "element", "ip", tableName, "cluster-ips", "{ 10.96.0.1 }")
		}, true},
		"a rule is added to one of our chains": {func(s *space, _ *Dataplane) {
			s.run("nft", "add", "rule", "ip6", tableName, "frontends", "drop")
		}, true},
		"the node gets an address": {func(s *space, _ *Dataplane) { s.run("ip", "addr", "add", "192.0.2.77/32", "dev", "lo") }, true},
		"somebody makes a table of another name": {func(s *space, _ *Dataplane) {
			s.run("nft", "add", "table", "ip", "fairleads")
			s.run("nft", "add", "table", "ip", "fair")
		}, false},
		"we program a change ourselves": {func(s *space, d *Dataplane) { mustSync(s.t, d, several(5, 2)) }, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := newSpace(t)
			d := s.dataplane()
			mustSync(t, d, several(3, 2))
			ctx, cancel := context.WithCancel(t.Context())
			news, done := make(chan struct{}, 1000), make(chan error)
			go func() { done <- d.Watch(ctx, func() { news <- struct{}{} }) }()
			t.Cleanup(func() {
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
			awaitWatch(t, s, news)
			tc.change(s, d)
			wantNews(t, news, tc.want)
		})
	}
}

// awaitWatch returns when Watch has begun: when it tells of a new address, and
// then of nothing more.
func awaitWatch(t *testing.T, s *space, news <-chan struct{}) {
	t.Helper()
	for i := range 50 {
		s.run("ip", "addr", "add", fmt.Sprintf("192.0.2.%d/32", 1+i), "dev", "lo")
		for told := false; ; told = true {
			select {
			case <-news:
				continue
			case <-time.After(quietWait):
			}
			if told {
				return
			}
			break
		}
	}
	t.Fatal("Watch tells of no address")
}

func wantNews(t *testing.T, news <-chan struct{}, want bool) {
	t.Helper()
	wait := quietWait
	if want {
		wait = newsWait
	}
	select {
	case <-news:
		if !want {
			t.Fatal("told of something that is not ours to repair")
		}
	case <-time.After(wait):
		if want {
			t.Fatal("not told")
		}
	}
}
