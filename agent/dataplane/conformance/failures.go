// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/internal/syscalltest"
)

// faults is about how many faults are chosen, evenly, for each call of the interface, unless
// allMomentsEnv is set: then it is each system call with each of its errors.
const faults = 4

// failed is what a call of the interface has left behind.
type failed struct {
	calls  []syscalltest.Call
	result dataplane.Result
	err    error
	after  Dump // the call
	then   Dump // and a Sync
	limits map[dataplane.Reason][]string
}

// Whichever system call fails, in whatever way: what the Dataplane believes afterwards is
// what the kernel has, and the next Sync finishes.
func testFailures(t *testing.T, s Subject) {
	for name, call := range interruptions() {
		t.Run(name, func(t *testing.T) {
			n := s.node(t)
			before := n.Dump()
			reference := call.fail(t, &s, n, syscalltest.Fault{}, nil)
			cleanUp(t, s.start(n))
			all := syscalltest.Faults(reference.calls)
			step := 1
			if os.Getenv(allMomentsEnv) == "" {
				step = max(1, len(all)/faults)
			}
			for i := step / 2; i < len(all); i += step {
				fault := all[i]
				failing := reference.calls[fault.Call-1]
				t.Run(fmt.Sprintf("%s %d of %d, %s", failing.Name, fault.Call, len(reference.calls), unix.ErrnoName(fault.Errno)), func(t *testing.T) {
					got := call.fail(t, &s, n, fault, reference.limits)
					// A program may succeed although the kernel has refused it something.
					if got.err == nil && !failing.OfProgram && cmp.Equal(limits(t, reference.result), limits(t, got.result)) {
						sameDump(t, "programmed by a call without an error", reference.after, got.after)
					}
					sameDump(t, "programmed by the next Sync", reference.then, got.then)
					cleanUp(t, s.start(n))
					if t.Failed() {
						t.Logf("of a program: %t; the error was %v", failing.OfProgram, got.err)
					}
				})
			}
			n.wantDump("left after a Cleanup", before, &s)
		})
	}
}

// fail has a system call of a call fail, and the next Sync finish. It waits until what the
// mode cannot do is no more than usual, if that is known.
func (c *interruption) fail(t *testing.T, s *Subject, n *Node, fault syscalltest.Fault, usual map[dataplane.Reason][]string) (out failed) {
	t.Helper()
	d := s.start(n)
	defer closed(t, d)
	c.prepare(t, s, n, d)
	inside := d.(*onNode).inside()
	out.calls = syscalltest.Run(t, fault, func() {
		if out.err = netns.Set(n.Handle); out.err == nil { // the thread ends with this
			out.result, out.err = c.call(t.Context(), inside)
		}
	})
	if out.err != nil {
		if fault.Call == 0 || len(out.calls) < fault.Call {
			t.Fatalf("nothing has failed, and yet: %v", out.err)
		}
		notSynced(t, d)
	}
	out.after = n.Dump()
	out.limits = c.tryAgain(t, d, usual)
	ofProgram := fault.Call > 0 && fault.Call <= len(out.calls) && out.calls[fault.Call-1].OfProgram
	c.finish(t, s, n, d, c.changed || ofProgram)
	out.then = n.Dump()
	return out
}

// tryAgain syncs until the mode has tried again what it could not program, when it wants
// to. It returns what is left of that.
func (c *interruption) tryAgain(t *testing.T, d dataplane.Dataplane, usual map[dataplane.Reason][]string) map[dataplane.Reason][]string {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		result := synced(t, d, c.then)
		got := limits(t, result)
		if usual == nil || cmp.Equal(usual, got, cmpopts.EquateEmpty()) {
			return got
		}
		if result.NextLook == 0 || time.Now().Add(result.NextLook).After(deadline) {
			t.Fatalf("limited for good: %+v", result)
		}
		time.Sleep(result.NextLook)
	}
}
