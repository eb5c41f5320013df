// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"net"
	"os/exec"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/internal/desiredtest"
	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// crowd are clients that ask again and again.
type crowd struct {
	t     *testing.T
	asked []atomic.Int64 // how often each has
	quiet sync.RWMutex   // nobody asks who holds it; clients share it
	stop  chan struct{}
	all   sync.WaitGroup
}

// gather starts clients outside, and one on the node. A client who is not answered fails
// the test.
func (n *topology) gather(clients int) *crowd {
	c := &crowd{t: n.t, asked: make([]atomic.Int64, clients), stop: make(chan struct{})}
	for i := range clients {
		c.all.Go(func() {
			runtime.LockOSThread() // for ever: nobody else shall have this thread
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
				c.quiet.RLock()
				if err := greetedAnew(nil); err != nil {
					n.t.Error(err)
				}
				c.quiet.RUnlock()
				c.asked[i].Add(1)
			}
		})
	}
	return c
}

// greetedAnew connects from an address, and waits for the endpoint's greeting.
func greetedAnew(from net.Addr) error {
	conn, err := (&net.Dialer{Timeout: patience, LocalAddr: from}).Dial("tcp", childVIP)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	return greeted(conn)
}

// meet waits until each client has begun to ask, and been answered, since now.
func (c *crowd) meet() {
	c.t.Helper()
	var before []int64
	for i := range c.asked {
		before = append(before, c.asked[i].Load())
	}
	eventually(c.t, "all clients have asked again", func() bool {
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

// Whoever connects while one mode follows another is answered, at every moment.
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
				n.linger(other, want)
				clients.meet()
				clients.quiet.Lock()
				n.end(other)
				clients.quiet.Unlock()
			}
		})
	}
}

// give has another mode take over, as the agent does.
func (n *topology) give(to dataplane.Dataplane, want model.Desired) {
	n.t.Helper()
	n.yieldTo(to)
	desiredtest.Sync(n.t, to, want)
	n.untilItHangsUp(want)
}

// end removes the traces of another mode, while nobody asks. Of thousands of connections
// in a few seconds the kernel remembers the masqueraded ones, and gives some of ours to
// the same endpoint another port than they have. That would end when it translates
// nothing any more, and begin when it does so again: hence it shall forget.
func (n *topology) end(other dataplane.Dataplane) {
	n.t.Helper()
	if err := other.Cleanup(n.t.Context()); err != nil {
		n.t.Fatal(err)
	}
	netnstest.Do(n.t, n.node, func() error { return exec.Command("conntrack", "--flush").Run() })
}
