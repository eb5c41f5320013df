// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package conformance tests what every mode must do as a dataplane.Dataplane, on the real
// kernel: in its own network namespaces, so it needs root. A mode's own test calls Run;
// its other tests are about how it does things.
package conformance

import (
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Subject is a mode under test, and its declarations: each exception has its reason.
type Subject struct {
	// Mode returns the mode as a process has it that has just been started. What its
	// Dataplanes share is shared by those of one call.
	Mode func() dataplane.Mode

	// Options are those of each Sync.
	Options dataplane.Options

	// Prepare makes a node one that uses the mode as it is to be tested; nil: every
	// node is.
	Prepare func(*Node)

	// Missing says what the mode needs and this machine does not have, so that nothing can
	// be tested; empty, or nil: nothing. It must not depend on the mode's own code.
	Missing func() string

	// EndsWithProcess says which state of the mode ends with its process and is made again
	// by the next one: it is not adopted, but must be the same again.
	EndsWithProcess string

	// Many is the number of Services at which a change costs as much as at 100; 0 is
	// 10,000. Another number has a reason.
	Many       int
	ManyReason string

	// OneAtATime says what the mode's Dataplanes share on a machine, so that only one node
	// can be tested at a time.
	OneAtATime string

	// ReadsAtOnce says why no Sync of the mode is interrupted for a change that waits;
	// empty: one is.
	ReadsAtOnce string

	// OneEndpoint is how many operations one changed endpoint costs, with three of them.
	// OneService is the most that a Service costs that is added or removed.
	OneEndpoint, OneService int

	// Keeps are the kernel's parameters that the mode sets and does not set back, as
	// paths below /proc/sys, and why.
	Keeps map[string]string

	// WithoutIPv6 opens a Dataplane on a kernel without IPv6, as far as the mode can
	// see; nil: it is opened on a node whose IPv6 is switched off.
	WithoutIPv6 func(dataplane.Env) (dataplane.Dataplane, error)

	// Limits are the limitations of the mode for Everything, with the frontends; none: the
	// node as a whole.
	Limits map[dataplane.Reason][]string

	// Damages are external changes of the state that the mode programs for Everything, by
	// name.
	Damages map[string]Damage
}

// Damage is an external change.
type Damage struct {
	Command string // of a shell on the node
	// Unnoticed says why Watch does not notice it, so that only a Sync does.
	Unnoticed string

	// Uninspected says why an inspection (dataplane.Inspector) does not find it; empty: it does.
	Uninspected string
}

func (s *Subject) many() int {
	if s.Many == 0 {
		return 10_000
	}
	return s.Many
}

// Run tests a mode.
func Run(t *testing.T, s Subject) {
	if s.Missing != nil {
		if missing := s.Missing(); missing != "" {
			t.Skip("this machine has no " + missing)
		}
	}
	if (s.Many != 0) != (s.ManyReason != "") || len(s.Damages) == 0 {
		t.Fatal("the subject has an exception without a reason, or no damages")
	}
	t.Run("failures", func(t *testing.T) { testFailures(t, s) }) // of system calls, one at a time
	for _, test := range []struct {
		name string
		run  func(*testing.T, Subject)
	}{
		{"adoption", testAdoption},
		{"packets", testPackets},
		{"limitations", testLimitations},
		{"cost", testCost},
		{"sources of node ports", testNodePortSources},
		{"interruptions", testInterruptions},
		{"interrupted looks", testInterruptedLooks},
		{"clean-up", testCleanup},
		{"clean-up in a handover", testCleanupInHandover},
		{"released", testReleased},
		{"no IPv6", testWithoutIPv6},
		{"repairs", testRepairs},
		{"repairs after a change", testRepairsAfterChange},
	} {
		t.Run(test.name, func(t *testing.T) {
			s.parallel(t)
			test.run(t, s)
		})
	}
}

// Interruptions runs only the tests of interrupted calls, for a mode that is also opened
// with other parameters.
func Interruptions(t *testing.T, s Subject) {
	testInterruptions(t, s)
}

// parallel lets a test run in parallel: most of the time it waits for the kernel.
func (s *Subject) parallel(t *testing.T) {
	if s.OneAtATime == "" {
		t.Parallel()
	}
}

// node makes a node for a subject.
func (s *Subject) node(t *testing.T) *Node {
	t.Helper()
	n := NewNode(t)
	n.options = s.Options
	if s.Prepare != nil {
		s.Prepare(n)
	}
	return n
}

// start opens the mode on a node as a new agent does.
func (s *Subject) start(n *Node) dataplane.Dataplane {
	n.T.Helper()
	return n.Open(s.Mode().Open)
}

// synced programs a node, and compares the limitations with those that the mode declares.
func synced(t *testing.T, d dataplane.Dataplane, want model.Desired) dataplane.Result {
	t.Helper()
	result, err := d.Sync(t.Context(), want, nil)
	if err != nil {
		t.Fatal("Sync:", err)
	}
	if result.Repaired > result.Operations {
		t.Errorf("%d of %d operations are repairs", result.Repaired, result.Operations)
	}
	return result
}

func apply(t *testing.T, d dataplane.Dataplane, from, to model.Desired) dataplane.Result {
	t.Helper()
	result, err := d.Apply(t.Context(), model.Diff(from, to))
	if err != nil {
		t.Fatal("Apply:", err)
	}
	return result
}

func cleanUp(t *testing.T, d dataplane.Dataplane) {
	t.Helper()
	if err := d.Cleanup(t.Context()); err != nil {
		t.Fatal("Cleanup:", err)
	}
}

func closed(t *testing.T, d dataplane.Dataplane) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Fatal("Close:", err)
	}
	// A process that a test beside this one starts has our sockets, too, between fork and
	// exec: then the next Dataplane would find their ports in use.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
}

// adopted checks that a Dataplane finds nothing to change in the kernel.
func (s *Subject) adopted(t *testing.T, d dataplane.Dataplane, want model.Desired) {
	t.Helper()
	result := synced(t, d, want)
	if s.EndsWithProcess == "" && result.Operations != 0 || result.Repaired != 0 {
		t.Errorf("a new agent finds something to do: %+v", result)
	}
	if again := synced(t, d, want); again.Operations != 0 {
		t.Errorf("another Sync finds something to do: %+v", again)
	}
}

// limits returns the limitations, to be compared with those of a subject.
func limits(t *testing.T, r dataplane.Result) map[dataplane.Reason][]string {
	t.Helper()
	out := map[dataplane.Reason][]string{}
	for _, l := range r.Unsupported {
		if l.Message == "" || l.Count < len(l.Frontends) || len(l.Frontends) > 0 && len(l.Services) == 0 {
			t.Errorf("limitation %+v", l)
		}
		out[l.Reason] = nil
		for _, f := range l.Frontends {
			out[l.Reason] = append(out[l.Reason], f.String())
		}
	}
	return out
}

// same compares two values.
func same(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}
