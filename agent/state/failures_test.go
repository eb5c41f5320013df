// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"fmt"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/agent/internal/syscalltest"
	"github.com/fairlead-proxy/fairlead/agent/source"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// TestFailures has a system call of an Append fail, each in turn and in each way: what can be
// read from the journal without an error is what the agent programs next, and never older.
func TestFailures(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	for name, before := range map[string]func(t *testing.T, c *journalFile){
		"the first change": func(*testing.T, *journalFile) {},
		"another change": func(t *testing.T, c *journalFile) {
			if err := c.Append(source.Changes{}); err != nil {
				t.Fatal(err)
			}
		},
		"a change that makes a new journal": func(t *testing.T, c *journalFile) {
			if err := c.Append(source.Changes{}); err != nil {
				t.Fatal(err)
			}
			c.size = compactionMin + 1
			c.live = 0
		},
	} {
		t.Run(name, func(t *testing.T) {
			calls := failingAppend(t, before, syscalltest.Fault{})
			for _, fault := range syscalltest.Faults(calls) {
				t.Run(fmt.Sprintf("%s %d, %s", calls[fault.Call-1].Name, fault.Call, unix.ErrnoName(fault.Errno)), func(t *testing.T) {
					failingAppend(t, before, fault)
				})
			}
		})
	}
}

func failingAppend(t *testing.T, before func(*testing.T, *journalFile), fault syscalltest.Fault) []syscalltest.Call {
	t.Helper()
	now := savedState{testNodeRules(1), agenttest.Listed(agenttest.Web("10.96.0.1", "10.244.1.2"))}
	c, err := openJournalFile(t.TempDir(), func() (*source.NodeRules, map[string]*v1alpha1.ServiceRuleSliceSpec) {
		return now.Node, now.Slices
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	before(t, c)

	now = savedState{testNodeRules(2), agenttest.Listed(agenttest.Web("10.96.0.1", "10.244.1.3"))}
	calls := syscalltest.Run(t, fault, func() { err = c.Append(source.Changes{Node: now.Node, Slices: now.Slices}) })
	node, slices, unreadable := c.Load()
	switch {
	case unreadable != nil && err == nil:
		t.Errorf("Append returns no error, but the journal cannot be read: %v", unreadable)
	case unreadable == nil && (node != nil || err == nil):
		if diff := cmp.Diff(now, savedState{node, slices}, ignoreReported); diff != "" {
			t.Errorf("read after an Append that returns %v: %s", err, diff)
		}
	}

	now.Node = testNodeRules(3)
	if err := c.Append(source.Changes{Node: now.Node}); err != nil {
		t.Fatalf("the disk works again: %v", err)
	}
	node, slices, err = c.Load()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(now, savedState{node, slices}, ignoreReported); diff != "" {
		t.Error("after the next Append:", diff)
	}
	return calls
}
