// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/agent/source"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

type savedState struct {
	Node   *source.NodeRules
	Slices map[string]*v1alpha1.ServiceRuleSliceSpec
}

func openTestCheckpoint(t *testing.T, dir string, state savedState) *journalFile {
	t.Helper()
	cp, err := openJournalFile(dir, func() (*source.NodeRules, map[string]*v1alpha1.ServiceRuleSliceSpec) {
		return state.Node, state.Slices
	})
	if err != nil {
		t.Fatal(err)
	}
	return cp
}

func loadTestCheckpoint(t *testing.T, dir string) (savedState, error) {
	t.Helper()
	cp := openTestCheckpoint(t, dir, savedState{})
	defer cp.Close()
	node, slices, err := cp.Load()
	return savedState{node, slices}, err
}

var ignoreReported = cmpopts.IgnoreUnexported(source.NodeRules{})

func TestCheckpoint(t *testing.T) {
	first := savedState{testNodeRules(1), agenttest.Listed(agenttest.Web("10.96.0.1", "10.244.1.2"))}
	cases := map[string]struct {
		changes []source.Changes
		want    savedState
	}{
		"nothing was stored": {want: savedState{Slices: map[string]*v1alpha1.ServiceRuleSliceSpec{}}},
		"the first change stores everything": {
			changes: []source.Changes{{}},
			want:    first,
		},
		"later changes are appended": {
			changes: []source.Changes{{}, {Node: testNodeRules(2), Slices: agenttest.Listed(agenttest.Web("10.96.0.1", "10.244.1.3"))}},
			want:    savedState{testNodeRules(2), agenttest.Listed(agenttest.Web("10.96.0.1", "10.244.1.3"))},
		},
		"a deletion is a change": {
			changes: []source.Changes{{}, {Slices: map[string]*v1alpha1.ServiceRuleSliceSpec{agenttest.WebName: nil}}},
			want:    savedState{testNodeRules(1), agenttest.Listed()},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			cp := openTestCheckpoint(t, dir, first)
			for _, ch := range tc.changes {
				if err := cp.Append(ch); err != nil {
					t.Fatal(err)
				}
			}
			if err := cp.Close(); err != nil {
				t.Fatal(err)
			}
			got, err := loadTestCheckpoint(t, dir)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got, ignoreReported); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestCheckpointDamage cuts the journal at every length.
func TestCheckpointDamage(t *testing.T) {
	dir := t.TempDir()
	first := savedState{testNodeRules(1), agenttest.Listed(agenttest.Web("10.96.0.1", "10.244.1.2"))}
	cp := openTestCheckpoint(t, dir, first)
	if err := cp.Append(source.Changes{}); err != nil {
		t.Fatal(err)
	}
	intact := cp.size
	if err := cp.Append(source.Changes{Slices: agenttest.Listed(agenttest.Web("10.96.0.1", "10.244.1.3"))}); err != nil {
		t.Fatal(err)
	}
	cp.Close()
	whole, err := os.ReadFile(cp.path)
	if err != nil {
		t.Fatal(err)
	}
	for length := int(intact) + 1; length < len(whole); length++ {
		if err := os.WriteFile(filepath.Join(dir, "checkpoint"), whole[:length], 0o600); err != nil {
			t.Fatal(err)
		}
		cp := openTestCheckpoint(t, dir, savedState{})
		if node, _, err := cp.Load(); node != nil || !errors.Is(err, errOutdated) {
			t.Fatalf("cut at %d in this boot: got %v, %v; must not be used", length, node, err)
		}
		cp.boot = "another"
		node, slices, err := cp.Load()
		if diff := cmp.Diff(first, savedState{node, slices}, ignoreReported); diff != "" || !errors.Is(err, errDamaged) {
			t.Fatalf("cut at %d after a boot: %v\n%s", length, err, diff)
		}
		cp.Close()
	}
}

// TestCheckpointFullDisk makes a write fail: the file is then older than the kernel's
// rules, and must not be used while these exist.
func TestCheckpointFullDisk(t *testing.T) {
	dir := t.TempDir()
	first := savedState{testNodeRules(1), agenttest.Listed(agenttest.Web("10.96.0.1", "10.244.1.2"))}
	cp := openTestCheckpoint(t, dir, first)
	defer cp.Close()
	if err := cp.Append(source.Changes{}); err != nil {
		t.Fatal(err)
	}
	// No new journal can be made either.
	if err := os.Mkdir(cp.path+".new", 0o700); err != nil {
		t.Fatal(err)
	}
	cp.file.Close()
	for range 3 {
		if err := cp.Append(source.Changes{Node: testNodeRules(2)}); err == nil {
			t.Fatal("a failed write is no error")
		}
	}
	if node, _, err := cp.Load(); node != nil || !errors.Is(err, errOutdated) {
		t.Errorf("in this boot: got %v, %v; must not be used", node, err)
	}
	boot := cp.boot
	cp.boot = "another"
	if node, _, err := cp.Load(); node == nil || !errors.Is(err, errDamaged) {
		t.Errorf("after a boot: got %v, %v; want what there is", node, err)
	}
	cp.boot = boot
	if err := os.Remove(cp.path + ".new"); err != nil {
		t.Fatal(err)
	}
	if err := cp.Append(source.Changes{Node: testNodeRules(2)}); err != nil {
		t.Fatal(err)
	}
	if node, _, err := cp.Load(); node == nil || err != nil {
		t.Errorf("with space again: got %v, %v", node, err)
	}
}

// TestFullDiskSinceBoot lets the disk be full from the boot on: the journal is that of an
// earlier boot, and must not be used after a restart of the agent.
func TestFullDiskSinceBoot(t *testing.T) {
	dir := t.TempDir()
	earlier := savedState{testNodeRules(1), agenttest.Listed(agenttest.Web("10.96.0.1", "10.244.1.2"))}
	cp := openTestCheckpoint(t, dir, earlier)
	cp.boot = "an earlier one"
	if err := cp.Append(source.Changes{}); err != nil {
		t.Fatal(err)
	}
	cp.Close()
	if err := os.Mkdir(cp.path+".new", 0o700); err != nil {
		t.Fatal(err)
	}
	for start := range 3 {
		cp := openTestCheckpoint(t, dir, savedState{})
		node, slices, err := cp.Load()
		if start == 0 && (node == nil || err != nil) {
			t.Fatalf("after the boot: got %v, %v; want what there is", node, err)
		}
		if start > 0 && (node != nil || len(slices) > 0) {
			t.Errorf("start %d: got %v, %v, %v; must not be used", start, node, slices, err)
		}
		if err := cp.Append(source.Changes{Node: testNodeRules(2)}); err == nil {
			t.Fatal("a failed write is no error")
		}
		cp.Close()
	}
}

// TestCheckpointRemoved removes the journal under the agent.
func TestCheckpointRemoved(t *testing.T) {
	dir := t.TempDir()
	first := savedState{testNodeRules(1), agenttest.Listed(agenttest.Web("10.96.0.1", "10.244.1.2"))}
	cp := openTestCheckpoint(t, dir, first)
	defer cp.Close()
	for range 2 {
		if err := cp.Append(source.Changes{}); err != nil {
			t.Fatal(err)
		}
		node, slices, err := cp.Load()
		if diff := cmp.Diff(first, savedState{node, slices}, ignoreReported); diff != "" || err != nil {
			t.Fatalf("%v\n%s", err, diff)
		}
		if err := os.Remove(cp.path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCheckpointCompaction(t *testing.T) {
	dir := t.TempDir()
	state := savedState{testNodeRules(1), agenttest.Listed(agenttest.Web("10.96.0.1", "10.244.1.2"))}
	cp := openTestCheckpoint(t, dir, state)
	defer cp.Close()
	largest := int64(0)
	for range 10_000 {
		if err := cp.Append(source.Changes{Slices: state.Slices}); err != nil {
			t.Fatal(err)
		}
		largest = max(largest, cp.size)
	}
	if largest < compactionMin || largest > 2*compactionMin {
		t.Errorf("the journal grew to %d bytes, want a little over %d", largest, compactionMin)
	}
}

// TestCheckpointOfAnotherName checks that a record whose slice does not belong to its name
// is damage: an agent from before ServiceRuleSlices were cluster-scoped wrote such ones.
func TestCheckpointOfAnotherName(t *testing.T) {
	dir := t.TempDir()
	web := agenttest.Web("10.96.0.1", "10.244.1.2")
	for name, tc := range map[string]struct {
		name string
		want error
	}{"its own": {agenttest.WebName, nil}, "without the namespace": {"web-v4-0", errOutdated}, "of another": {"default.web-v4-1", errOutdated}} {
		t.Run(name, func(t *testing.T) {
			cp := openTestCheckpoint(t, dir, savedState{testNodeRules(1), map[string]*v1alpha1.ServiceRuleSliceSpec{tc.name: web}})
			defer cp.Close()
			if err := cp.Append(source.Changes{}); err != nil {
				t.Fatal(err)
			}
			if _, _, err := cp.Load(); !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
}

// TestFolderOfOthers checks that the agent does not program what another user may have
// written, and does not follow links of another user.
func TestFolderOfOthers(t *testing.T) {
	link := func(name string) func(dir string) error {
		return func(dir string) error {
			target := filepath.Join(dir, "target")
			return errors.Join(os.WriteFile(target, nil, 0o600), os.Symlink(target, filepath.Join(dir, name)))
		}
	}
	for name, spoil := range map[string]func(dir string) error{
		"writable by others":  func(dir string) error { return os.Chmod(dir, 0o777) },
		"writable by a group": func(dir string) error { return os.Chmod(dir, 0o770) },
		"of another user":     func(dir string) error { return os.Chown(dir, 65534, -1) },
		"a link as lock":      link("lock"),
		"a link as journal":   link("checkpoint"),
		"a link as new one":   link("checkpoint.new"),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := spoil(dir); err != nil {
				t.Fatal(err)
			}
			cp, err := openJournalFile(dir, func() (*source.NodeRules, map[string]*v1alpha1.ServiceRuleSliceSpec) { return nil, nil })
			if err == nil {
				defer cp.Close()
				_, _, loadErr := cp.Load()
				err = errors.Join(loadErr, cp.Append(source.Changes{}))
			}
			if err == nil {
				t.Error("used")
			}
		})
	}
}

func TestCheckpointIsLocked(t *testing.T) {
	dir := t.TempDir()
	cp := openTestCheckpoint(t, dir, savedState{})
	if _, err := openJournalFile(dir, nil); !errors.Is(err, ErrStateLocked) {
		t.Errorf("second agent in one folder: got %v, want %v", err, ErrStateLocked)
	}
	cp.Close()
	again := openTestCheckpoint(t, dir, savedState{})
	again.Close()
}

// TestCheckpointFlippedBit flips a bit of each byte of the last record: it must not be read
// as something else.
func TestCheckpointFlippedBit(t *testing.T) {
	dir := t.TempDir()
	cp := openTestCheckpoint(t, dir, savedState{testNodeRules(1), agenttest.Listed()})
	if err := cp.Append(source.Changes{}); err != nil {
		t.Fatal(err)
	}
	intact := cp.size
	if err := cp.Append(source.Changes{Slices: agenttest.Listed(agenttest.Web("10.96.0.1", "10.244.1.3"))}); err != nil {
		t.Fatal(err)
	}
	defer cp.Close()
	whole, err := os.ReadFile(cp.path)
	if err != nil {
		t.Fatal(err)
	}
	for i := int(intact); i < len(whole); i++ {
		damaged := slices.Clone(whole)
		damaged[i] ^= 1
		if err := os.WriteFile(cp.path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if node, _, err := cp.Load(); node != nil || !errors.Is(err, errOutdated) {
			t.Fatalf("byte %d: got %v, %v; must not be used", i, node, err)
		}
	}
}

// TestCheckpointAfterAFailedWrite makes one write fail: the next one does not follow what may
// be a part of a record, but writes everything anew.
func TestCheckpointAfterAFailedWrite(t *testing.T) {
	dir := t.TempDir()
	want := savedState{testNodeRules(2), agenttest.Listed(agenttest.Web("10.96.0.1", "10.244.1.3"))}
	cp := openTestCheckpoint(t, dir, want)
	defer cp.Close()
	if err := cp.Append(source.Changes{}); err != nil {
		t.Fatal(err)
	}
	unwritable, err := os.Open(cp.path)
	if err != nil {
		t.Fatal(err)
	}
	cp.file.Close()
	cp.file = unwritable
	if err := cp.Append(source.Changes{Node: testNodeRules(2)}); err == nil {
		t.Fatal("a failed write is no error")
	}
	if err := cp.Append(source.Changes{Slices: agenttest.Listed()}); err != nil {
		t.Fatal(err)
	}
	node, slices, err := cp.Load()
	if diff := cmp.Diff(want, savedState{node, slices}, ignoreReported); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// TestLargeCheckpointIsAppendedTo checks that a change of a large state costs as much as it
// is large, and not as much as the state is.
func TestLargeCheckpointIsAppendedTo(t *testing.T) {
	large := agenttest.Web("10.96.0.1")
	for i := range 30_000 {
		large.Endpoints = append(large.Endpoints, v1alpha1.RuleEndpoint{Address: fmt.Sprintf("10.1.%d.%d", i/250, i%250), TargetPorts: []int32{8080}})
	}
	cp := openTestCheckpoint(t, t.TempDir(), savedState{testNodeRules(1), agenttest.Listed(large)})
	defer cp.Close()
	if err := cp.Append(source.Changes{}); err != nil {
		t.Fatal(err)
	}
	before, written := cp.size, cp.file
	if before <= compactionMin {
		t.Fatalf("%d bytes are not large", before)
	}
	for range 3 {
		if err := cp.Append(source.Changes{Node: testNodeRules(2)}); err != nil {
			t.Fatal(err)
		}
	}
	if cp.file != written || cp.size > before+10_000 {
		t.Errorf("it was written anew, or grew from %d to %d bytes", before, cp.size)
	}
}
