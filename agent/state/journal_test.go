// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/agent/source"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// journalTest is a Journal with a clock that only the test moves.
type journalTest struct {
	*Journal
	t     *testing.T
	clock *clocktesting.FakeClock
	wakes atomic.Int32
	state savedState
}

func newJournalTest(t *testing.T, dir string) *journalTest {
	t.Helper()
	n := &journalTest{t: t, clock: clocktesting.NewFakeClock(time.Unix(1e9, 0)),
		state: savedState{testNodeRules(1), agenttest.Listed(agenttest.Web("10.96.0.1", "10.244.1.2"))}}
	j, err := OpenJournal(dir, func() (*source.NodeRules, map[string]*v1alpha1.ServiceRuleSliceSpec) {
		return n.state.Node, n.state.Slices
	}, func() { n.wakes.Add(1) }, n.clock)
	if err != nil {
		t.Fatal(err)
	}
	n.Journal = j
	return n
}

// until moves the clock until something is so.
func (n *journalTest) until(what string, so func() bool) {
	n.t.Helper()
	for deadline := time.Now().Add(time.Minute); !so(); {
		if time.Now().After(deadline) {
			n.t.Fatalf("not %s: %v", what, n.Failure())
		}
		n.clock.Step(time.Second)
		time.Sleep(time.Millisecond) // the writer's turn
	}
}

// append appends while the clock moves.
func (n *journalTest) append(ch source.Changes) error {
	n.t.Helper()
	done := make(chan error, 1)
	go func() { done <- n.Append(ch) }()
	var err error
	n.until("appended", func() bool {
		select {
		case err = <-done:
			return true
		default:
			return false
		}
	})
	return err
}

// A folder that cannot be used is reported, and used when it can be.
func TestJournalWithoutFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	n := newJournalTest(t, dir)
	if node, _, err := n.Load(); node != nil || !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("Load: %v, %v", node, err)
	}
	if err := n.Append(source.Changes{Node: testNodeRules(1)}); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("Append: %v", err)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	before := n.wakes.Load()
	n.until("recovered", func() bool { return n.Failure() == nil })
	if n.wakes.Load() == before {
		t.Error("the loop was not woken up")
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := loadTestCheckpoint(t, dir)
	if diff := cmp.Diff(n.state, got, ignoreReported); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
}

// A disk that hangs delays one change for a short time and the next ones not at all. When
// it works again, all of them are stored.
func TestJournalOnAHungDisk(t *testing.T) {
	dir := t.TempDir()
	n := newJournalTest(t, dir)
	if _, _, err := n.Load(); err != nil {
		t.Fatal(err)
	}
	n.state.Node = testNodeRules(2)
	// To open a pipe for writing waits for a reader.
	pipe := filepath.Join(dir, "checkpoint.new")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := n.append(source.Changes{Node: testNodeRules(1)}); !errors.Is(err, errSilent) {
		t.Errorf("the first change: %v", err)
	}
	for range 3 { // the clock stands still: these do not wait
		if err := n.Append(source.Changes{Node: testNodeRules(2)}); !errors.Is(err, errSilent) {
			t.Errorf("the next changes: %v", err)
		}
	}
	reader, err := os.OpenFile(pipe, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	n.until("recovered", func() bool { return n.Failure() == nil })
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := loadTestCheckpoint(t, dir)
	if diff := cmp.Diff(n.state, got, ignoreReported); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
}

// A failure is followed by attempts with a back-off, not by one for each change: each
// writes everything.
func TestJournalBacksOff(t *testing.T) {
	dir := t.TempDir()
	n := newJournalTest(t, dir)
	if err := n.Append(source.Changes{Node: testNodeRules(1)}); err != nil {
		t.Fatal(err)
	}
	// The journal is gone, and no new one can be made.
	if err := errors.Join(os.Remove(filepath.Join(dir, "checkpoint")), os.Mkdir(filepath.Join(dir, "checkpoint.new"), 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := n.Append(source.Changes{Node: testNodeRules(2)}); err == nil {
		t.Fatal("a failed write is no error")
	}
	if err := os.Remove(filepath.Join(dir, "checkpoint.new")); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := n.Append(source.Changes{Node: testNodeRules(2)}); err == nil {
			t.Error("written before the back-off")
		}
	}
	n.until("recovered", func() bool { return n.Failure() == nil })
	if err := n.Append(source.Changes{Node: testNodeRules(3)}); err != nil {
		t.Error(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := loadTestCheckpoint(t, dir)
	if diff := cmp.Diff(savedState{testNodeRules(3), n.state.Slices}, got, ignoreReported); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
}

// A disk that fails for long is not written to all the time, and the first minute in which it
// works again is enough.
func TestJournalAfterALongFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		tries := 0
		j, err := OpenJournal(dir, func() (*source.NodeRules, map[string]*v1alpha1.ServiceRuleSliceSpec) {
			tries++
			return testNodeRules(1), nil
		}, func() {}, clock.RealClock{})
		if err != nil {
			t.Fatal(err)
		}
		// A new journal can be written, and not replace the old one.
		path := filepath.Join(dir, "checkpoint")
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := j.Append(source.Changes{Node: testNodeRules(1)}); err == nil {
			t.Fatal("a failed write is no error")
		}
		time.Sleep(58 * time.Minute)
		if synctest.Wait(); tries > 70 {
			t.Errorf("%d tries", tries)
		}
		if j.Failure() == nil {
			t.Error("no failure is reported while the disk fails")
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if synctest.Wait(); j.Failure() != nil {
			t.Errorf("a minute after the failure: %v", j.Failure())
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestJournalIsLocked(t *testing.T) {
	dir := t.TempDir()
	n := newJournalTest(t, dir)
	if _, err := OpenJournal(dir, nil, func() {}, n.clock); !errors.Is(err, ErrStateLocked) {
		t.Errorf("a second agent in one folder: %v", err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if err := newJournalTest(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
}

// Changes that come while the writer is busy wait together, the newest of each slice.
func TestJournalCollects(t *testing.T) {
	j := &Journal{silent: true, work: make(chan struct{}, 1), clock: clocktesting.NewFakeClock(time.Unix(1e9, 0))}
	a, b := agenttest.Web("10.96.0.1", "10.244.1.2"), agenttest.Web("10.96.0.1", "10.244.1.3")
	for _, ch := range []source.Changes{
		{Node: testNodeRules(2), Slices: map[string]*v1alpha1.ServiceRuleSliceSpec{"first": a, "both": a}},
		{Slices: map[string]*v1alpha1.ServiceRuleSliceSpec{"both": b, "gone": nil}},
	} {
		if err := j.Append(ch); !errors.Is(err, errSilent) {
			t.Fatal(err)
		}
	}
	got := j.take().changes
	want := source.Changes{Node: testNodeRules(2), Slices: map[string]*v1alpha1.ServiceRuleSliceSpec{"first": a, "both": b, "gone": nil}}
	if diff := cmp.Diff(want, got, ignoreReported); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
}

// TestJournalIsRead checks that an agent begins with what the one before it has written.
func TestJournalIsRead(t *testing.T) {
	dir := t.TempDir()
	first := newJournalTest(t, dir)
	if node, slices, err := first.Load(); node != nil || len(slices) != 0 || err != nil {
		t.Errorf("of the first agent: %v, %v, %v", node, slices, err)
	}
	if err := first.Append(source.Changes{Node: first.state.Node}); err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := newJournalTest(t, dir)
	node, slices, err := second.Load()
	if diff := cmp.Diff(first.state, savedState{node, slices}, ignoreReported); diff != "" || err != nil {
		t.Errorf("error %v (-want +got):\n%s", err, diff)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
}
