// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/fairlead-proxy/fairlead/rules"
)

// newsWait is how long the kernel may take to tell; quietWait is how long silence
// must last to count as one.
const (
	newsWait  = 5 * time.Second
	quietWait = 200 * time.Millisecond
)

func TestWatch(t *testing.T) {
	web := chainFor(prefixTo, at("10.96.0.1:80/tcp"), internal)
	for name, tc := range map[string]struct {
		change func(s *space, d *Dataplane)
		want   bool
	}{
		"the table is flushed":   {func(s *space, _ *Dataplane) { s.iptables("-t", "nat", "-F") }, true},
		"a jump is deleted":      {func(s *space, _ *Dataplane) { s.iptables("-t", "nat", "-D", "OUTPUT", "-j", chainOutput) }, true},
		"a rule of ours is gone": {func(s *space, _ *Dataplane) { s.iptables("-t", "nat", "-D", web, "2") }, true},
		"the filter is flushed":  {func(s *space, _ *Dataplane) { s.iptables("-F") }, true},
		"the ruleset is flushed": {func(s *space, _ *Dataplane) { s.run("nft", "flush", "ruleset") }, true},
		"the node gets an address": {func(s *space, _ *Dataplane) {
			s.run("ip", "addr", "add", "192.0.2.77/32", "dev", "lo")
		}, true},
		"others change the same tables": {func(s *space, _ *Dataplane) {
			s.iptables("-t", "nat", "-N", "OTHER")
			s.iptables("-t", "nat", "-I", "PREROUTING", "-j", "OTHER")
			s.iptables("-t", "nat", "-D", "PREROUTING", "-j", "OTHER")
		}, false},
		"we program a change ourselves": {func(s *space, d *Dataplane) {
			mustApply(s.t, d, rules.Diff(several(3, 2), several(5, 3)))
			mustSync(s.t, d, several(2, 2))
		}, false},
		"we program a large change": {func(s *space, d *Dataplane) {
			if stats := mustSync(s.t, d, several(200, 10)); stats.Operations <= loudOperations {
				s.t.Errorf("%+v is not large", stats)
			}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSpace(t, variantNFT)
			d := s.dataplane()
			mustSync(t, d, several(3, 2))
			news := watch(t, s, d)
			tc.change(s, d)
			wantNews(t, news, tc.want)
		})
	}
}

// TestMissedNews checks that what others do during a large change of ours is told.
func TestMissedNews(t *testing.T) {
	s := newSpace(t, variantNFT)
	d := s.dataplane()
	mustSync(t, d, several(3, 2))
	news := watch(t, s, d)
	s.iptables("-t", "nat", "-N", "OTHER") // only the generation tells
	wantNews(t, news, false)
	mustApply(t, d, rules.Diff(several(3, 2), several(200, 10)))
	wantNews(t, news, true)
}

// watch starts Watch and returns what it tells, once it does: of a new address, and
// then of nothing more.
func watch(t *testing.T, s *space, d *Dataplane) <-chan struct{} {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	news, done := make(chan struct{}, 1000), make(chan error)
	go func() { done <- d.Watch(ctx, func() { news <- struct{}{} }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	for i := range 50 {
		s.run("ip", "addr", "add", fmt.Sprintf("192.0.2.%d/32", 1+i), "dev", "lo")
		for told := false; ; told = true {
			select {
			case <-news:
				continue
			case <-time.After(quietWait):
			}
			if told && d.news.Watched() {
				return news
			}
			break
		}
	}
	t.Fatal("Watch tells of no address")
	return nil
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
