// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"testing"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// othersCommit has a mode read the kernel that relies on the ruleset's generation.
const othersCommit = "nft add table ip other; nft delete table ip other; "

// A Sync that is interrupted for a change programs what is desired, and the next Sync still
// finds what others have changed. An agent that does not know what is programmed reads all.
func testInterruptedLooks(t *testing.T, s Subject) {
	n := s.node(t)
	n.Serve(podEndpoints...)
	want := Everything()
	d := s.start(n)
	synced(t, d, want)
	before := n.Dump()
	to := withAnother(withEndpoint(want, "web", "10.244.1.4:8080"))
	apply(t, d, want, to)
	after := n.Dump()
	apply(t, d, to, want)

	n.Run("sh", "-ec", othersCommit)
	_, looks := interruptedAt(t, d, want, 0)
	interrupted := 0
	for at := 1; at <= looks+1 && !t.Failed(); at += 1 + looks/moments {
		n.Run("sh", "-ec", othersCommit)
		if result, _ := interruptedAt(t, d, to, at); result.Interrupted {
			interrupted++
		}
		sameDump(t, "programmed by an interrupted Sync", after, n.Dump())
		apply(t, d, to, want)
		sameDump(t, "programmed by a change after it", before, n.Dump())
	}
	if (interrupted == 0) != (s.ReadsAtOnce != "") {
		t.Errorf("%d Syncs were interrupted; the mode reads at once: %q", interrupted, s.ReadsAtOnce)
	}
	to = withEndpoint(want, "web", "10.244.1.4:8080")
	for name, damage := range s.Damages {
		t.Run(name, func(t *testing.T) {
			n.Run("sh", "-ec", othersCommit+damage.Command)
			ctx, end := context.WithCancel(t.Context())
			end()
			result, err := d.Sync(dataplane.WithReading(t.Context(), ctx), to, nil)
			if err == nil {
				_, err = d.Apply(t.Context(), model.Diff(to, want)) // may fail, because of the damage
			}
			if result.Repaired == 0 {
				result = repaired(t, d, want)
			}
			if result.Repaired == 0 {
				t.Errorf("no repair is counted: %+v; before: %v", result, err)
			}
			if again := synced(t, d, want); again.Operations != 0 || again.Repaired != 0 || again.Interrupted {
				t.Errorf("another Sync: %+v", again)
			}
			sameDump(t, "after the repair", before, n.Dump())
			n.wantServed()
		})
	}
	n.damage(t, firstOf(s.Damages))
	closed(t, d)
	d = s.start(n)
	if result, _ := interruptedAt(t, d, want, 1); result.Interrupted {
		t.Errorf("the first Sync of an agent: %+v", result)
	}
	sameDump(t, "after the first Sync of an agent", before, n.Dump())
}

// interruptedAt syncs while the context to read with ends when it is looked at for a number
// of times. It returns how often it was looked at.
func interruptedAt(t *testing.T, d dataplane.Dataplane, want model.Desired, at int) (r dataplane.Result, looks int) {
	t.Helper()
	reading := interruptAt(t, at)
	r, err := d.Sync(dataplane.WithReading(t.Context(), reading), want, nil)
	if err != nil {
		t.Fatal("Sync:", err)
	}
	return r, int(reading.looks.Load())
}
