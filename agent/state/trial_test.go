// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/agent/internal/syscalltest"
	"github.com/fairlead-proxy/fairlead/agent/trial"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// stateOf returns a state to keep.
func stateOf(revision string) trial.State {
	spec := agenttest.NodeSpec()
	spec.Node = v1alpha1.NodeFacts{}
	return trial.State{Revision: revision, Since: time.Unix(1000, 0).UTC(), Phase: v1alpha1.RevisionVerified, Asked: &spec, Verified: &spec}
}

// trialTest is a Trial with a clock that only the test moves.
type trialTest struct {
	*Trial
	t     *testing.T
	clock *clocktesting.FakeClock
	wakes atomic.Int32
}

func newTrialTest(t *testing.T, dir string) *trialTest {
	t.Helper()
	n := &trialTest{t: t, clock: clocktesting.NewFakeClock(time.Unix(1e9, 0))}
	n.Trial = OpenTrial(dir, func() { n.wakes.Add(1) }, n.clock)
	if _, err := n.Load(); err != nil {
		t.Fatal(err)
	}
	return n
}

// until moves the clock until something is so.
func (n *trialTest) until(what string, so func() bool) {
	n.t.Helper()
	for deadline := time.Now().Add(time.Minute); !so(); {
		if time.Now().After(deadline) {
			n.t.Fatalf("not %s: %v", what, n.Failure())
		}
		n.clock.Step(time.Second)
		time.Sleep(time.Millisecond) // the writer's turn
	}
}

// kept reads what an agent after this one would.
func kept(t *testing.T, dir string) (trial.State, error) {
	t.Helper()
	f := OpenTrial(dir, func() {}, clock.RealClock{})
	defer f.Close()
	return f.Load()
}

func TestTrialIsKept(t *testing.T) {
	dir := t.TempDir()
	f := newTrialTest(t, dir)
	for _, name := range []string{"r-1", "r-2"} {
		f.Save(stateOf(name))
		got, err := kept(t, dir)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(stateOf(name), got); diff != "" || f.Failure() != nil {
			t.Errorf("failure %v, kept (-want +got):\n%s", f.Failure(), diff)
		}
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(filepath.Join(dir, trialFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

// TestTrialThatCannotBeRead begins without one, says why, and keeps the next.
func TestTrialThatCannotBeRead(t *testing.T) {
	for name, tc := range map[string]struct {
		damage func(path string) error
		want   string // of the error; empty: there is none
	}{
		"there is none": {os.Remove, ""},
		"empty":         {func(p string) error { return os.Truncate(p, 0) }, "unexpected end of JSON input"},
		"torn":          {func(p string) error { return os.Truncate(p, 40) }, "unexpected end of JSON input"},
		"a link": {func(p string) error {
			return errors.Join(os.Rename(p, p+".other"), os.Symlink(p+".other", p))
		}, "too many levels of symbolic links"},
		"a folder that others can write to": {func(p string) error { return os.Chmod(filepath.Dir(p), 0o777) }, "no other may write to it"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			f := newTrialTest(t, dir)
			f.Save(stateOf("r-1"))
			if err := errors.Join(f.Close(), tc.damage(filepath.Join(dir, trialFile))); err != nil {
				t.Fatal(err)
			}
			got, err := kept(t, dir)
			if diff := cmp.Diff(trial.State{}, got); diff != "" {
				t.Errorf("reads (-want +got):\n%s", diff)
			}
			if (err != nil) != (tc.want != "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if err := os.Chmod(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			again := OpenTrial(dir, func() {}, clock.RealClock{})
			defer again.Close()
			again.Save(stateOf("r-2"))
			if got, err := kept(t, dir); err != nil || got.Revision != "r-2" {
				t.Errorf("then it keeps %+v, %v", got, err)
			}
		})
	}
}

// TestTrialIsWrittenLater cannot write for some time. What was kept before stays, and the newest
// is written when that is possible.
func TestTrialIsWrittenLater(t *testing.T) {
	dir := t.TempDir()
	f := newTrialTest(t, dir)
	f.Save(stateOf("r-1"))
	blocked := filepath.Join(dir, trialFile+".new", "x")
	if err := os.MkdirAll(blocked, 0o700); err != nil {
		t.Fatal(err)
	}
	f.Save(stateOf("r-2"))
	f.Save(stateOf("r-3"))
	if err := f.Failure(); err == nil || !strings.Contains(err.Error(), "keep the state of the revision: ") {
		t.Errorf("reports %v", err)
	}
	if got, err := kept(t, dir); err != nil || got.Revision != "r-1" {
		t.Errorf("kept %+v, %v", got, err)
	}
	f.until("tried again", func() bool { return f.wakes.Load() > 0 })
	if err := os.RemoveAll(filepath.Dir(blocked)); err != nil {
		t.Fatal(err)
	}
	f.until("written", func() bool { return f.Failure() == nil })
	if got, err := kept(t, dir); err != nil || got.Revision != "r-3" {
		t.Errorf("kept %+v, %v", got, err)
	}
	f.until("reported", func() bool { return f.wakes.Load() > 1 })
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// TestTrialOnAHungDisk writes to a disk that does not answer: Save returns all the same, and the
// newest is written when it answers.
func TestTrialOnAHungDisk(t *testing.T) {
	dir := t.TempDir()
	f := newTrialTest(t, dir)
	f.Save(stateOf("r-1"))
	pipe := filepath.Join(dir, trialFile+".new")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	saved := make(chan struct{})
	go func() {
		defer close(saved)
		f.Save(stateOf("r-2"))
		f.Save(stateOf("r-3")) // does not wait at all
	}()
	f.until("saved", func() bool {
		select {
		case <-saved:
			return true
		default:
			return false
		}
	})
	if err := f.Failure(); !errors.Is(err, errSilent) {
		t.Errorf("reports %v", err)
	}
	reader, err := os.OpenFile(pipe, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	f.until("written", func() bool {
		got, err := kept(t, dir)
		return err == nil && got.Revision == "r-3" && f.Failure() == nil
	})
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// TestTrialWriteFails has a system call of a write fail, each in turn and in each way: what is
// kept is the old state or the new one, and never a part.
func TestTrialWriteFails(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	write := func(t *testing.T, fault syscalltest.Fault) []syscalltest.Call {
		t.Helper()
		path := filepath.Join(t.TempDir(), trialFile)
		if err := writeTrial(path, []byte(`{"revision": "r-1"}`)); err != nil {
			t.Fatal(err)
		}
		var failure error
		calls := syscalltest.Run(t, fault, func() { failure = writeTrial(path, []byte(`{"revision": "r-2"}`)) })
		got, err := readTrial(path)
		if err != nil || got.Revision != "r-2" && (got.Revision != "r-1" || failure == nil) {
			t.Errorf("reads %+v, %v after %v", got, err, failure)
		}
		return calls
	}
	calls := write(t, syscalltest.Fault{})
	for _, fault := range syscalltest.Faults(calls) {
		write(t, fault)
	}
}
