// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
)

// dial returns a client for the namespace of a test.
func dial(t *testing.T, s *netnstest.Space) *Client {
	t.Helper()
	c, err := Dial(int(s.Handle))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// table adds a table with one chain and a set of n elements.
func table(t *testing.T, n int) (*Table, *Batch) {
	t.Helper()
	tab := NewTable(unix.NFPROTO_IPV4, "mine", "a comment", false)
	set := tab.NewSet(SetSpec{Name: "addresses", Key: []Field{tab.DestinationField()}})
	b := NewBatch()
	b.AddTable(tab)
	b.AddSet(set)
	b.AddChain(tab.NewChain("output", &Hook{Number: unix.NF_INET_LOCAL_OUT, Priority: -100},
		tab.NewRule("why", tab.Destination(0), In(set, 0), Drop())))
	for i := range n {
		b.Add(set).Key([]byte{10, 0, byte(i >> 8), byte(i)})
	}
	if want := n + 4; b.Operations() != want {
		t.Errorf("%d operations, want %d", b.Operations(), want)
	}
	return tab, b
}

// TestReadBack reads what was committed, and deletes it.
func TestReadBack(t *testing.T) {
	c := dial(t, netnstest.NewSpace(t))
	tab, b := table(t, 3000)
	if err := c.Commit(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if exists, same, err := ReadTable(t.Context(), c, tab); !exists || !same || err != nil {
		t.Errorf("table: %v %v %v", exists, same, err)
	}
	if exists, same, err := ReadTable(t.Context(), c, NewTable(tab.Family, tab.Name, "another comment", false)); !exists || same || err != nil {
		t.Errorf("table with another comment: %v %v %v", exists, same, err)
	}
	set, number := tab.NewSet(SetSpec{Name: "addresses", Key: []Field{tab.DestinationField()}}), 0
	other := tab.NewSet(SetSpec{Name: "addresses", Key: []Field{PortField()}})
	sets, err := ReadSets(t.Context(), c, tab)
	if err != nil || len(sets) != 1 || !sets[0].Is(set) || sets[0].Is(other) || sets[0].IsMap() {
		t.Errorf("sets: %v %v", sets, err)
	}
	if err := ReadElements(t.Context(), c, set, func() { number = 0 }, func(Element) { number++ }); err != nil || number != 3000 {
		t.Errorf("%d elements, %v", number, err)
	}
	chains, err := ReadChains(t.Context(), c, tab)
	rule, without := tab.NewRule("why", tab.Destination(0), In(set, 0), Drop()), tab.NewRule("", tab.Destination(0), In(set, 0), Drop())
	if got := chains["output"]; err != nil || len(chains) != 1 || !got.Base || !RulesEqual(got.Rules, []Rule{rule}) || RulesEqual(got.Rules, []Rule{without}) {
		t.Errorf("chains: %v %v", chains, err)
	}
	for range 2 {
		if err := c.DeleteTable(t.Context(), tab); err != nil {
			t.Error(err)
		}
	}
	if exists, _, err := ReadTable(t.Context(), c, tab); exists || err != nil {
		t.Errorf("deleted: %v %v", exists, err)
	}
}

// TestGeneration checks that the generation changes with the commits of others only.
func TestGeneration(t *testing.T) {
	s := netnstest.NewSpace(t)
	c := dial(t, s)
	generation := func() Generation {
		t.Helper()
		g, err := c.Generation(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	before := generation()
	for name, step := range map[string]struct {
		do   func() error
		same bool
	}{
		"a commit of ours": {func() error { _, b := table(t, 1); return c.Commit(t.Context(), b) }, true},
		"a large one":      {func() error { _, b := table(t, LoudOperations); return c.Commit(t.Context(), b) }, true},
		"one that fails": {func() error {
			b := NewBatch()
			b.AddChain(NewTable(unix.NFPROTO_IPV4, "none", "", false).NewChain("c", nil))
			if err := c.Commit(t.Context(), b); !errors.Is(err, unix.ENOENT) || !strings.Contains(err.Error(), "add ip none chain c") {
				t.Error(err)
			}
			return nil
		}, true},
		"a program's for us": {func() error {
			return c.Quietly(t.Context(), 1, 1, func() error { s.Run("nft", "add", "table", "ip", "program"); return nil })
		}, true},
		"another's": {func() error { s.Run("nft", "add", "table", "ip", "other"); return nil }, false},
	} {
		if err := step.do(); err != nil {
			t.Fatal(name, err)
		}
		if now := generation(); now.Is(before) != step.same {
			t.Errorf("%s: %+v, was %+v", name, now, before)
		}
		s.Run("nft", "flush", "ruleset")
		before = generation()
	}
	if (Generation{}).Is(Generation{}) {
		t.Error("an unknown generation is equal")
	}
}

// TestCommitEach checks that the batches before one that fails are committed, and count as
// the client's.
func TestCommitEach(t *testing.T) {
	c := dial(t, netnstest.NewSpace(t))
	before, err := c.Generation(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, first := table(t, LoudOperations)
	second, third := NewBatch(), NewBatch()
	second.DeleteTable(NewTable(unix.NFPROTO_IPV4, "none", "", false))
	third.AddTable(NewTable(unix.NFPROTO_IPV4, "third", "", false))
	operations, err := c.CommitEach(t.Context(), []*Batch{first, second, third})
	if operations != first.Operations() || !errors.Is(err, unix.ENOENT) {
		t.Errorf("%d operations, %v", operations, err)
	}
	if exists, _, err := ReadTable(t.Context(), c, NewTable(unix.NFPROTO_IPV4, "third", "", false)); exists || err != nil {
		t.Errorf("after the error: %v %v", exists, err)
	}
	after, err := c.Generation(t.Context())
	if err != nil || !after.Is(before) {
		t.Errorf("%+v, was %+v, %v", after, before, err)
	}
}

// TestWatchReportsWhatWasMissed checks what Watch reports after large commits.
func TestWatchReportsWhatWasMissed(t *testing.T) {
	other := func(s *netnstest.Space) { s.Run("nft", "add", "table", "ip", "other") }
	for name, tc := range map[string]struct {
		size   int
		during func(s *netnstest.Space)
		want   int
	}{
		"a small commit":                {1, func(*netnstest.Space) {}, 0},
		"a large commit":                {LoudOperations + 1, func(*netnstest.Space) {}, 0},
		"others during a large commit":  {LoudOperations + 1, other, 1},
		"others during a commit at all": {1, other, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := netnstest.NewSpace(t)
			c := dial(t, s)
			if _, err := c.Generation(t.Context()); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done, last := make(chan error), make(chan struct{})
			var changed atomic.Int32
			go func() {
				done <- c.Watch(ctx, func(n Change) bool {
					if n.Table == "last" {
						close(last)
					}
					return n.Table == "other"
				}, func() { changed.Add(1) })
			}()
			for deadline := time.Now().Add(time.Minute); !c.Watched(); time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("not watched")
				}
			}
			_, b := table(t, tc.size)
			work := func() error { tc.during(s); return c.commit(t.Context(), b) }
			if err := c.Quietly(t.Context(), b.Operations(), 1, work); err != nil {
				t.Fatal(err)
			}
			s.Run("nft", "add", "table", "ip", "last") // notifications arrive in order
			<-last
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if c.Watched() {
				t.Error("the socket is used after Watch has returned")
			}
			if got := int(changed.Load()); got != tc.want {
				t.Errorf("changed was called %d times, want %d", got, tc.want)
			}
		})
	}
}
