// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/fairlead-proxy/fairlead/agent/dataplane/fake"
	"github.com/fairlead-proxy/fairlead/agent/report"
	"github.com/fairlead-proxy/fairlead/agent/state"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// onDisk has a loop keep its journal and its revisions in a folder, and begin with what is there.
// It returns what ends that.
func (c *changing) onDisk(dir string) (stop func()) {
	c.t.Helper()
	// By this clock the disk is waited for, however slow it is.
	patient := clocktesting.NewFakeClock(time.Now())
	j, err := state.OpenJournal(dir, c.store.Snapshot, c.store.Wake, patient)
	if err != nil {
		c.t.Fatal(err)
	}
	file := state.OpenTrial(dir, c.store.Wake, patient)
	c.journal, c.verify = j, newVerification(file, c.verify.check, c.time, logr.Discard())
	node, slices, err := j.Load()
	if err != nil {
		c.t.Fatal(err)
	}
	if node != nil {
		c.store.Restore(node, slices)
	}
	return func() {
		if err := file.Close(); err != nil {
			c.t.Error(err)
		}
		if err := j.Close(); err != nil {
			c.t.Error(err)
		}
	}
}

// TestReturnAfterRestart restarts the agent on trial, without the apiserver, before the deadline
// and after it.
func TestReturnAfterRestart(t *testing.T) {
	for name, tc := range map[string]struct {
		after time.Duration
		mode  v1alpha1.ProxyMode
	}{
		"before the deadline": {50 * time.Second, ipvsMode},
		"after the deadline":  {60 * time.Second, nftablesMode},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			a := newChanging(t)
			stop := a.onDisk(dir)
			a.store.NodeSynced()
			spec := a.list()
			a.give("r-1", 1, nftablesMode)
			a.verifyNow()
			a.give("r-2", 2, ipvsMode)
			a.wantRevision("r-2", v1alpha1.RevisionProgrammed, "r-2", "")
			stop()

			b := newChanging(t)
			b.time.SetTime(a.time.Now().Add(tc.after))
			t.Cleanup(b.onDisk(dir))
			if err := b.installed.Activate(ipvsMode); err != nil {
				t.Fatal(err)
			}
			b.step(t.Context())
			if b.dp.Mode() != tc.mode || b.last.FromAPI {
				t.Errorf("%s is active, from the API: %v", b.dp.Mode(), b.last.FromAPI)
			}
			b.pass(12)
			b.wantRevision("r-2", v1alpha1.RevisionReverted, "r-1", "")
			b.wantKernel(t, spec)
		})
	}
}

// TestRestartAfterATrial restarts the agent as soon as a trial has ended: the next one knows how.
func TestRestartAfterATrial(t *testing.T) {
	dir := t.TempDir()
	next := func(a *changing) *changing {
		c := newChanging(t)
		if a != nil {
			c.time.SetTime(a.time.Now())
			c.generation = a.generation
		}
		return c
	}
	a := next(nil)
	stop := a.onDisk(dir)
	a.store.NodeSynced()
	a.list()
	a.give("r-1", 1, nftablesMode)
	a.verifyNow()
	stop()

	b := next(a)
	stop = b.onDisk(dir)
	b.step(t.Context())
	b.wantRevision("r-1", v1alpha1.RevisionVerified, "r-1", "")
	fail(b.ipvs, fake.Sync, 1000)
	b.give("r-2", 2, ipvsMode)
	b.pass(61)
	b.wantRevision("r-2", v1alpha1.RevisionReverted, "r-1", "the kernel says no")
	stop()

	c := next(b)
	t.Cleanup(c.onDisk(dir))
	c.time.Step(-time.Hour)
	c.step(t.Context())
	c.wantRevision("r-2", v1alpha1.RevisionReverted, "r-1", "the kernel says no")
	if c.ipvs.Count(fake.Sync) != 0 {
		t.Error("it is tried again")
	}
	if b.last.Returns != 1 || c.last.Returns != 0 {
		t.Errorf("returned %d times, and %d times after the restart", b.last.Returns, c.last.Returns)
	}
}

// TestTrialComesFirst reads the disk whenever the kernel is programmed: an agent that is killed
// then must know that the revision is on trial, and since when.
func TestTrialComesFirst(t *testing.T) {
	c, dir := newChanging(t), t.TempDir()
	t.Cleanup(c.onDisk(dir))
	var got []string
	note := func(m fake.Method) {
		if m != fake.Sync {
			return
		}
		file := state.OpenTrial(dir, func() {}, clock.RealClock{})
		defer file.Close()
		kept, err := file.Load()
		if err != nil {
			t.Error(err)
		}
		verified := "nothing"
		if kept.Verified != nil {
			verified = kept.Verified.Revision
		}
		got = append(got, kept.Revision+" "+kept.Since.UTC().Format(time.TimeOnly)+" "+verified)
	}
	c.kernel.On, c.ipvs.On = note, note
	c.store.NodeSynced()
	c.list()
	c.give("r-1", 1, nftablesMode)
	c.verifyNow()
	c.time.Step(time.Second)
	c.give("r-2", 2, ipvsMode)
	want := []string{"r-1 00:16:40 nothing", "r-1 00:16:40 nothing", "r-2 00:16:42 r-1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestTrialWithoutADisk runs with a folder that cannot be written: that is reported, and the node
// returns all the same.
func TestTrialWithoutADisk(t *testing.T) {
	c, dir := newChanging(t), t.TempDir()
	t.Cleanup(c.onDisk(dir))
	c.store.NodeSynced()
	c.list()
	c.give("r-1", 1, nftablesMode)
	c.verifyNow()
	if err := os.Mkdir(filepath.Join(dir, "revision.json.new"), 0o700); err != nil {
		t.Fatal(err)
	}
	c.give("r-2", 2, ipvsMode)
	if err := c.last.Problem(report.JournalFailed); err == nil || !strings.Contains(err.Error(), "revision.json.new") {
		t.Errorf("reports %v", err)
	}
	c.pass(61)
	c.wantRevision("r-2", v1alpha1.RevisionReverted, "r-1", "")
}
