// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"testing"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// moments is about how many looks at the context are chosen, evenly, to interrupt a call
// at, unless allMomentsEnv is set: then it is each of them, which takes minutes.
const (
	moments       = 5
	allMomentsEnv = "FAIRLEAD_ALL_INTERRUPTIONS"
)

// interrupting is a context that ends when it is looked at for a number of times, by Done
// or Err.
type interrupting struct {
	context.Context
	cancel context.CancelFunc
	looks  atomic.Int64
	at     int64 // 0: never
}

func interruptAt(t *testing.T, at int) *interrupting {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	return &interrupting{Context: ctx, cancel: cancel, at: int64(at)}
}

func (c *interrupting) look() {
	if c.looks.Add(1) == c.at {
		c.cancel()
	}
}

// Done is a look.
func (c *interrupting) Done() <-chan struct{} {
	c.look()
	return c.Context.Done()
}

// Err is a look.
func (c *interrupting) Err() error {
	c.look()
	return c.Context.Err()
}

// interruption is a call that is interrupted, on a node where the mode has nothing.
type interruption struct {
	prepare func(t *testing.T, s *Subject, n *Node, d dataplane.Dataplane)
	call    func(ctx context.Context, d dataplane.Dataplane) (dataplane.Result, error)
	then    model.Desired // is synced afterwards
	changed bool          // by another program, before
}

func interruptions() map[string]interruption {
	before, after := Everything(), Everything()
	drift := Everything()
	for _, d := range []*model.Desired{&after, &drift} {
		put(d, "dns", "10.96.0.2:53/udp", second)
		delete(d.Frontends, at("10.96.0.4:80/tcp"))
		put(d, "more", "10.96.0.9:80/tcp", both)
		put(d, "more", "[fd00:96::9]:80/tcp", both6)
	}
	drift.Node.NodePortLocalhost = false
	from := func(t *testing.T, _ *Subject, _ *Node, d dataplane.Dataplane) { synced(t, d, before) }
	return map[string]interruption{
		"Sync where nothing is": {
			func(*testing.T, *Subject, *Node, dataplane.Dataplane) {},
			func(ctx context.Context, d dataplane.Dataplane) (dataplane.Result, error) {
				return d.Sync(ctx, before, nil)
			},
			before, false,
		},
		"Sync after a change by another": {
			func(t *testing.T, s *Subject, n *Node, d dataplane.Dataplane) {
				synced(t, d, before)
				other := s.start(n)
				synced(t, other, drift)
				closed(t, other)
			},
			func(ctx context.Context, d dataplane.Dataplane) (dataplane.Result, error) {
				return d.Sync(ctx, before, nil)
			},
			before, true,
		},
		"Apply": {
			from,
			func(ctx context.Context, d dataplane.Dataplane) (dataplane.Result, error) {
				return d.Apply(ctx, model.Diff(before, after))
			},
			after, false,
		},
		"Cleanup": {
			from,
			func(ctx context.Context, d dataplane.Dataplane) (dataplane.Result, error) {
				return dataplane.Result{}, d.Cleanup(ctx)
			},
			after, false,
		},
	}
}

// Wherever a call is interrupted, the next Sync finishes what it should do, and the
// kernel is as if nothing had been interrupted.
func testInterruptions(t *testing.T, s Subject) {
	for name, call := range interruptions() {
		t.Run(name, func(t *testing.T) {
			s.parallel(t)
			n := s.node(t)
			before := n.Dump()
			looks, reference := call.run(t, &s, n, 0)
			cleanUp(t, s.start(n))
			step := 1
			if os.Getenv(allMomentsEnv) == "" {
				step = max(1, looks/moments)
			}
			times := 0
			for at := 1; ; at += step {
				seen, programmed := call.run(t, &s, n, at)
				times++
				if programmed != nil {
					sameDump(t, "programmed after an interruption", reference, programmed)
				}
				cleanUp(t, s.start(n))
				if seen < at || t.Failed() {
					break
				}
			}
			n.wantDump("left after a Cleanup", before, &s)
			t.Logf("interrupted at %d of %d looks at the context", times-1, looks)
		})
	}
}

// run interrupts a call, and has the next Sync finish. It returns how often the context
// was looked at, and what is programmed then.
func (c *interruption) run(t *testing.T, s *Subject, n *Node, at int) (looks int, programmed Dump) {
	t.Helper()
	d := s.start(n)
	defer closed(t, d)
	c.prepare(t, s, n, d)
	ctx := interruptAt(t, at)
	_, err := c.call(ctx, d)
	looks = int(ctx.looks.Load())
	if err != nil {
		if at == 0 || looks < at {
			t.Fatalf("not interrupted, and yet: %v", err)
		}
		notSynced(t, d)
	}
	c.finish(t, s, n, d, c.changed)
	if t.Failed() {
		t.Fatalf("interrupted at look %d of %d", at, looks)
	}
	return looks, n.Dump()
}

// notSynced checks that a Dataplane whose call has failed does not go on with Apply.
func notSynced(t *testing.T, d dataplane.Dataplane) {
	t.Helper()
	if _, err := d.Apply(t.Context(), model.Delta{}); !errors.Is(err, dataplane.ErrNotSynced) {
		t.Errorf("after a call that has failed, Apply returns %v", err)
	}
}

// finish checks that the next Sync finishes, without a repair unless there is something to
// repair, and that a new agent finds nothing to do.
func (c *interruption) finish(t *testing.T, s *Subject, n *Node, d dataplane.Dataplane, repairs bool) {
	t.Helper()
	if result := synced(t, d, c.then); result.Repaired != 0 && !repairs {
		t.Errorf("what the interrupted call did counts as a change by another: %+v", result)
	}
	after := s.start(n)
	defer closed(t, after)
	if s.EndsWithProcess == "" {
		s.adopted(t, after, c.then)
	}
}
