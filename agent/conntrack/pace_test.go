// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// paced is a cleaner whose clock stands still until a test moves it.
type paced struct {
	*Cleaner
	t       *testing.T
	kernel  *memory
	clock   *clocktesting.FakeClock
	worked  time.Duration // processor time
	current model.Desired
}

// newPaced returns a cleaner that has nothing to do, some time after its start.
func newPaced(t *testing.T, frontends ...*model.Frontend) *paced {
	t.Helper()
	p := &paced{t: t, kernel: &memory{}, clock: clocktesting.NewFakeClock(time.Unix(1_000_000, 0)), current: model.NewDesired()}
	p.Cleaner = New(p.kernel.kernel(), p.kernel, logr.Discard(), p.clock, func() {})
	p.used = func() time.Duration { return p.worked }
	p.change(frontends...)
	p.Programmed(true)
	p.pass(time.Minute)
	p.kernel.dumps = nil
	return p
}

// change programs other frontends.
func (p *paced) change(frontends ...*model.Frontend) {
	next := desired(frontends...)
	p.Change(model.Diff(p.current, next))
	p.Programmed(false)
	p.current = next
}

// pass lets time pass, in which Run would look.
func (p *paced) pass(d time.Duration) {
	for end := p.clock.Now().Add(d); ; {
		wait, waiting := p.step(p.t.Context())
		if left := end.Sub(p.clock.Now()); !waiting || wait > left {
			p.clock.Step(max(left, 0))
			return
		}
		p.clock.Step(wait)
	}
}

func (p *paced) wantWalks(when string, want int) {
	p.t.Helper()
	if got := len(p.kernel.dumps); got != want {
		p.t.Errorf("%s: %d walks, want %d: %v", when, got, want, p.kernel.dumps)
	}
	p.kernel.dumps = nil
}

// services are n frontends, of which the i-th leads to the version of its endpoint.
func services(protocol model.Protocol, n int, version func(i int) int) (out []*model.Frontend) {
	for i := range n {
		out = append(out, frontend(protocol, fmt.Sprintf("10.96.1.%d:80", i), fmt.Sprintf("10.244.%d.%d:80", version(i), i)))
	}
	return out
}

// Endpoints of TCP that are replaced one after the other cost a few walks.
func TestWalksForTCP(t *testing.T) {
	const n, every = 130, 100 * time.Millisecond
	p := newPaced(t, services(model.TCP, n, func(int) int { return 0 })...)
	for i := range n {
		p.kernel.entries = append(p.kernel.entries, flow(fmt.Sprint(i), model.TCP, fmt.Sprintf("10.96.1.%d:80", i), fmt.Sprintf("10.244.0.%d:80", i), unanswered))
	}
	for changed := range n {
		p.change(services(model.TCP, n, func(i int) int {
			if i <= changed {
				return 1
			}
			return 0
		})...)
		p.pass(every)
		if changed == 0 {
			p.wantWalks("the first change", 1)
		}
	}
	p.pass(tcpInterval)
	p.wantWalks("the others, within 13 s", 3)
	if left := p.kernel.left(); len(left) > 0 {
		t.Errorf("half-open flows are left: %v", left)
	}
	p.pass(time.Minute)
	p.wantWalks("nothing changes", 0)
}

// A flow of UDP to an endpoint that is gone is deleted at once; those of a burst
// that follows in one more walk, within a second.
func TestWalksForUDP(t *testing.T) {
	const n = 20
	p := newPaced(t, services(model.UDP, n, func(int) int { return 0 })...)
	lose := func(upTo int) {
		p.change(services(model.UDP, n, func(i int) int {
			if i <= upTo {
				return 1
			}
			return 0
		})...)
	}
	entry := func(i int) {
		p.kernel.entries = append(p.kernel.entries, flow(fmt.Sprint(i), model.UDP, fmt.Sprintf("10.96.1.%d:80", i), fmt.Sprintf("10.244.0.%d:80", i)))
	}
	for i := range n {
		entry(i)
	}
	lose(0)
	p.pass(0)
	p.wantWalks("the first loss", 1)
	if left := p.kernel.left(); len(left) != n-1 {
		t.Errorf("%d flows are left", len(left))
	}
	for i := 1; i < n; i++ {
		lose(i)
		p.pass(time.Millisecond)
	}
	p.wantWalks("more losses at once", 0)
	p.pass(udpInterval)
	p.wantWalks("after a second", 1)
	if left := p.kernel.left(); len(left) > 0 {
		t.Errorf("flows are left: %v", left)
	}
}

// TCP that has to wait does not keep UDP from its turn, nor the other way round.
func TestProtocolsDoNotWaitForEachOther(t *testing.T) {
	both := func(udp, tcp int) []*model.Frontend {
		return append(services(model.UDP, 1, func(int) int { return udp }), services(model.TCP, 1, func(int) int { return tcp })...)
	}
	p := newPaced(t, both(0, 0)...)
	p.change(both(0, 1)...)
	p.pass(0)
	p.wantWalks("TCP", 1)
	p.change(both(0, 2)...)
	p.pass(0)
	p.wantWalks("TCP again", 0)
	p.change(both(1, 2)...)
	p.pass(0)
	p.wantWalks("UDP", 1)

	// A walk of half a second is followed by a pause of nine times that.
	p.kernel.walked = func() { p.clock.Step(500 * time.Millisecond); p.worked += 500 * time.Millisecond }
	tcp := 0
	for i := range 20 {
		p.change(both(2+i, 3+i)...)
		p.pass(2 * time.Second)
	}
	for _, f := range p.kernel.dumps {
		if f.Protocol == unix.IPPROTO_TCP {
			tcp++
		}
	}
	if n := len(p.kernel.dumps); n < 8 || n > 12 || tcp < 3 {
		t.Errorf("%d walks within 50 s, of which %d for TCP", n, tcp)
	}
}

// Changes of several frontends cost one walk, or one each where all the entries
// that would be handed over otherwise cost more.
func TestWalksOfLargeTables(t *testing.T) {
	for name, c := range map[string]struct {
		losses, entries, want int
	}{
		"one":                          {1, 0, 1},
		"one, large table":             {1, 40_000, 1},
		"several":                      {4, 100, 1},
		"several, large table":         {4, 40_000, 4},
		"more than pay, large table":   {8, 20_000, 1},
		"many more, very large table":  {20, 120_000, 1},
		"as many as pay, larger table": {8, 40_000, 8},
	} {
		t.Run(name, func(t *testing.T) {
			const n = 20
			p := newPaced(t, services(model.UDP, n, func(int) int { return 0 })...)
			busy := flow("busy", model.UDP, "10.96.9.9:53", "10.244.9.9:53")
			for range c.entries {
				p.kernel.entries = append(p.kernel.entries, busy)
			}
			p.Programmed(true)
			p.pass(time.Minute)
			p.wantWalks("the regular look", 1)
			p.change(services(model.UDP, n, func(i int) int {
				if i < c.losses {
					return 1
				}
				return 0
			})...)
			p.pass(0)
			p.wantWalks("the losses", c.want)
		})
	}
}

// On a busy node a walk takes long, because it waits for a processor. That is no reason to
// look at the next flows later.
func TestWalksOnABusyNode(t *testing.T) {
	p := newPaced(t, services(model.UDP, 1, func(int) int { return 0 })...)
	p.kernel.walked = func() { p.clock.Step(500 * time.Millisecond); p.worked += time.Millisecond }
	for i := range 10 {
		p.change(services(model.UDP, 1, func(int) int { return 1 + i })...)
		p.pass(udpInterval)
		p.wantWalks("a change each second", 1)
	}
}

func TestThreadTime(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, deadline := threadTime(), time.Now().Add(10*time.Second)
	for threadTime() == before {
		if time.Now().After(deadline) {
			t.Fatal("a busy thread uses no processor time")
		}
	}
}
