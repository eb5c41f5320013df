// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/internal/desiredtest"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// crowd is a number of clients that connect again and again.
type crowd struct {
	t     *testing.T
	asked []atomic.Int64 // connections of each client
	stop  chan struct{}
	all   sync.WaitGroup
}

// gather starts clients outside, and one on the node. A client that gets no answer fails
// the test.
func (n *topology) gather(clients int) *crowd {
	c := &crowd{t: n.t, asked: make([]atomic.Int64, clients), stop: make(chan struct{})}
	for i := range clients {
		c.all.Go(func() {
			runtime.LockOSThread() // for ever: no other goroutine may use this thread
			space := n.outside
			if i == 0 {
				space = n.node
			}
			if err := netns.Set(space); err != nil {
				n.t.Error(err)
				return
			}
			for {
				select {
				case <-c.stop:
					return
				default:
				}
				if err := connect(nil); err != nil {
					n.t.Error(err)
				}
				c.asked[i].Add(1)
			}
		})
	}
	return c
}

// connect connects from an address, and waits for the first line of the endpoint.
func connect(from net.Addr) error {
	conn, err := (&net.Dialer{Timeout: patience, LocalAddr: from}).Dial("tcp", childVIP)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	return hello(conn)
}

// meet waits until each client has connected again, and got an answer.
func (c *crowd) meet() {
	c.t.Helper()
	var before []int64
	for i := range c.asked {
		before = append(before, c.asked[i].Load())
	}
	eventually(c.t, "all clients have connected again", func() bool {
		for i := range c.asked {
			if c.asked[i].Load() < before[i]+2 {
				return false
			}
		}
		return true
	})
}

func (c *crowd) leave() {
	close(c.stop)
	c.all.Wait()
}

// A client that connects while one mode replaces another gets an answer, at every moment.
func TestTakeoversUnderLoad(t *testing.T) {
	for name, make := range otherModes {
		t.Run(name, func(t *testing.T) {
			n := newTopology(t)
			n.serve("10.244.1.2:8080")
			other, want := make(n), desired(leading(childVIP, model.TCP, "10.244.1.2:8080"))
			n.sync(want)
			clients := n.gather(8)
			defer clients.leave()
			for range 4 {
				clients.meet()
				n.give(other, want)
				clients.meet()
				n.sync(want)
				n.releaseRules(other, want)
				clients.meet()
				if err := other.Cleanup(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// give lets another mode take over, as the agent does.
func (n *topology) give(to dataplane.Dataplane, want model.Desired) {
	n.t.Helper()
	n.yieldTo(to)
	desiredtest.Sync(n.t, to, want)
	n.untilItHangsUp(want)
}
