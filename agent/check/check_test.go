// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package check

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/clock"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// network is where the tests connect to.
type network struct {
	mu     sync.Mutex
	broken map[string]error // by address
	silent map[string]bool
	dialed []string
	open   int
	woken  int
}

// conn notes that it is closed.
type conn struct {
	net.Conn
	n *network
}

func (c conn) Close() error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	c.n.open--
	return nil
}

func (n *network) dial(ctx context.Context, protocol, address string) (net.Conn, error) {
	n.mu.Lock()
	n.dialed = append(n.dialed, protocol+" "+address)
	err, silent := n.broken[address], n.silent[address]
	n.mu.Unlock()
	if silent {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.open++
	return conn{n: n}, nil
}

func (n *network) set(address string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.broken[address] = err
}

// seen returns how often the loop was woken, how many connections are open, and all that were dialed.
func (n *network) seen() (woken, open int, dialed []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.woken, n.open, slices.Clone(n.dialed)
}

func newChecks(n *network) *Checks {
	n.broken, n.silent = map[string]error{}, map[string]bool{}
	return New(n.dial, func() { n.mu.Lock(); n.woken++; n.mu.Unlock() }, clock.RealClock{})
}

var errRefused = errors.New("connection refused")

// target is a check of a Service.
func target(name string, limit int32, addresses ...string) Target {
	t := Target{RolloutCheck: v1alpha1.RolloutCheck{Name: name, Service: "default/web", Port: 80}}
	if limit >= 0 {
		t.FailureLimit = &limit
	}
	for _, a := range addresses {
		t.Addresses = append(t.Addresses, netip.MustParseAddrPort(a))
	}
	return t
}

// TestResult has checks run for some time.
func TestResult(t *testing.T) {
	const v4, v6, other = "10.96.0.1:80", "[fd00::1]:80", "10.96.0.2:80"
	noService := target("web", 0)
	noService.Err = errors.New("there is no such Service")
	refused := map[string]error{v4: errRefused}
	for name, tc := range map[string]struct {
		targets []Target
		broken  map[string]error
		silent  string
		after   time.Duration
		want    string
		unfit   bool
	}{
		"none":               {},
		"answers":            {targets: []Target{target("web", 0, v4)}},
		"one family is cut":  {targets: []Target{target("web", -1, v6, v4)}, broken: refused, want: "check web: Service default/web, port 80: connection refused"},
		"no answer so far":   {targets: []Target{target("web", 0, v4)}, silent: v4, want: "check web: Service default/web, port 80 has not answered yet"},
		"no answer":          {targets: []Target{target("web", 1, v4)}, silent: v4, after: patience, want: "check web: Service default/web, port 80: context deadline exceeded"},
		"one of two":         {targets: []Target{target("a", -1, other), target("b", -1, v4)}, broken: refused, want: "check b: Service default/web, port 80: connection refused"},
		"without a limit":    {targets: []Target{target("web", -1, v4)}, broken: refused, after: time.Hour, want: "check web: Service default/web, port 80: connection refused"},
		"below the limit":    {targets: []Target{target("web", 1, v4)}, broken: refused, want: "check web: Service default/web, port 80: connection refused"},
		"beyond the limit":   {targets: []Target{target("web", 1, v4)}, broken: refused, after: retryMin, want: "check web: Service default/web, port 80: connection refused", unfit: true},
		"no failure allowed": {targets: []Target{target("web", 0, v4)}, broken: refused, want: "check web: Service default/web, port 80: connection refused", unfit: true},
		"the one beyond the limit": {targets: []Target{target("a", -1, v4), target("b", 0, v4)}, broken: refused,
			want: "check b: Service default/web, port 80: connection refused", unfit: true},
		"no such Service": {targets: []Target{noService}, want: "check web: Service default/web, port 80: there is no such Service", unfit: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &network{}
				c := newChecks(n)
				for address, err := range tc.broken {
					n.set(address, err)
				}
				n.silent[tc.silent] = true
				c.Run(tc.targets)
				defer c.Stop()
				time.Sleep(tc.after)
				synctest.Wait()
				unfit, got := c.Result()
				if text := fmt.Sprint(got); text != tc.want && (got != nil || tc.want != "") || unfit != tc.unfit {
					t.Errorf("got %q, unfit %v; want %q, %v", text, unfit, tc.want, tc.unfit)
				}
				if _, open, _ := n.seen(); open != 0 {
					t.Errorf("%d connections are open", open)
				}
			})
		})
	}
}

// TestAttempts counts connections: there are no more after an answer, and fewer and fewer before.
func TestAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const address, v6 = "10.96.0.1:80", "[fd00::1]:80"
		n := &network{}
		c := newChecks(n)
		defer c.Stop()
		n.set(v6, errRefused)
		run := func() { c.Run([]Target{target("web", -1, address, v6)}) }
		run()
		wantDialed := func(attempts int) {
			t.Helper()
			synctest.Wait()
			woken, _, dialed := n.seen()
			if diff := cmp.Diff(slices.Repeat([]string{"tcp " + address, "tcp " + v6}, attempts), dialed); diff != "" || woken != attempts {
				t.Errorf("woken %d times, dialed (-want +got):\n%s", woken, diff)
			}
		}
		wantDialed(1)
		run() // the same go on
		time.Sleep(time.Minute)
		wantDialed(9) // at 0, 1, 3, 7, 15, 25, 35, 45 and 55 seconds
		n.set(v6, nil)
		time.Sleep(retryMax)
		wantDialed(10)
		if unfit, err := c.Result(); err != nil || unfit {
			t.Errorf("it has answered: %v", err)
		}
		time.Sleep(time.Hour)
		run()
		wantDialed(10)
		c.Run([]Target{target("web", -1, address, "[fd00::1]:80", "10.96.0.9:80")}) // of which some are the same
		synctest.Wait()
		if _, _, dialed := n.seen(); len(dialed) != 23 || dialed[22] != "tcp 10.96.0.9:80" {
			t.Errorf("other targets: dialed %v", dialed)
		}
	})
}

// TestStop stops in the middle of a connection, and of a pause.
func TestStop(t *testing.T) {
	for name, silent := range map[string]bool{"a connection": true, "a pause": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const address = "10.96.0.1:80"
				n := &network{}
				c := newChecks(n)
				n.silent[address] = silent
				n.set(address, errRefused)
				c.Run([]Target{target("web", 0, address)})
				synctest.Wait()
				c.Stop()
				before, _, _ := n.seen()
				if unfit, err := c.Result(); err != nil || unfit {
					t.Errorf("nothing runs: %v", err)
				}
				time.Sleep(time.Minute)
				if woken, _, dialed := n.seen(); woken != before || len(dialed) != 1 {
					t.Errorf("goes on: %v", dialed)
				}
			})
		})
	}
}
