// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/utils/clock"
)

// What there is to be had of a process's file descriptors.
const (
	// perConnection is how many descriptors a TCP connection takes: one to the
	// client and one to the endpoint. Pipes to splice come on top, while data is
	// moved, and the copy does without if there are none.
	perConnection = 2
	perSession    = 1 // of UDP

	// reserveShare is the part of all descriptors that is left for the agent
	// itself and for pipes, at most maxReserve.
	reserveShare = 8
	maxReserve   = 2048

	// lastingRefusal is for how long the status says that connections were refused.
	lastingRefusal = time.Minute
)

// Connections are the open connections and UDP sessions of a process, and the
// room for more. They outlive a Dataplane, which may be closed and another one be
// made while connections go on; so there is one of it for all.
type Connections struct {
	clock clock.PassiveClock
	files func() uint64 // how many files the process may have open

	mu        sync.Mutex
	tcp       map[*connection]struct{}
	byAddress map[netip.Addr]int // of them, by the address that the client knows
	sessions  int
	sockets   int // that wait for clients
	refused   uint64
	refusedAt time.Time // zero: never
	collected time.Time // when garbage was last collected to have descriptors
	awaited   map[netip.Addr]struct{}
	watchers  map[int]func()
	lastID    int
}

// connection is one of a client to us.
type connection struct{ client, local netip.AddrPort }

// NewConnections returns that there are none.
func NewConnections() *Connections {
	return &Connections{clock: clock.RealClock{}, files: fileLimit, tcp: map[*connection]struct{}{}, byAddress: map[netip.Addr]int{}, watchers: map[int]func(){}}
}

// fileLimit is the soft limit of open files. Go raises it to the hard one when a
// process starts.
func fileLimit() uint64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxInt32 // not known: the kernel will say
	}
	return min(limit.Cur, math.MaxInt32)
}

// room is how many descriptors connections and sessions may still take.
func (c *Connections) room() int {
	all := int(c.files())
	return all - min(all/reserveShare, maxReserve) - c.sockets - c.sessions*perSession - len(c.tcp)*perConnection
}

// admit counts a new connection, unless there is no room for it.
func (c *Connections) admit(n *connection) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.room() < perConnection {
		c.refuse()
		return false
	}
	c.tcp[n] = struct{}{}
	c.byAddress[n.local.Addr()]++
	return true
}

// release counts that a connection has ended.
func (c *Connections) release(n *connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := n.local.Addr()
	delete(c.tcp, n)
	if c.byAddress[a]--; c.byAddress[a] > 0 {
		return
	}
	delete(c.byAddress, a)
	if _, waiting := c.awaited[a]; waiting {
		c.tell()
	}
}

// admitSession counts a new session, unless there is no room for it.
func (c *Connections) admitSession() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.room() < perSession {
		c.refuse()
		return false
	}
	c.sessions++
	return true
}

func (c *Connections) releaseSession() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sessions--
}

// maxSessions is how many sessions a frontend may have: a quarter of what there is
// room for, so that one alone does not take all.
func (c *Connections) maxSessions() int { return max(16, int(c.files())/4) }

// admitSocket counts a socket that waits for clients, unless there is no room.
func (c *Connections) admitSocket() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.room() < 1 {
		return fmt.Errorf("no file descriptor is left for it: %w", unix.EMFILE)
	}
	c.sockets++
	return nil
}

func (c *Connections) releaseSocket() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sockets--
}

// exhausted counts a connection that the kernel has no descriptor for, whatever
// room we thought there was. Pipes that were used to splice are given back when
// garbage is collected, in the second turn, and only then: so that is what to do.
func (c *Connections) exhausted() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refuse()
	if now := c.clock.Now(); now.Sub(c.collected) >= collectInterval {
		c.collected = now
		go func() {
			runtime.GC()
			runtime.GC()
		}()
	}
}

// collectInterval is the least time between two such collections.
const collectInterval = 5 * time.Second

// refuse counts a refused connection, and tells of the first one.
func (c *Connections) refuse() {
	c.refused++
	news := c.refusedAt.IsZero()
	c.refusedAt = c.clock.Now()
	if news {
		c.tell()
	}
}

// errFull says that connections are refused, and what helps.
var errFull = errors.New("new connections are refused, for no file descriptor is left: raise the limit of open files of the agent (RLIMIT_NOFILE; LimitNOFILE= of a systemd unit)")

// full returns errFull if connections were refused in the last minute.
func (c *Connections) full() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refusedAt.IsZero() || c.clock.Since(c.refusedAt) >= lastingRefusal {
		c.refusedAt = time.Time{}
		return nil
	}
	return errFull
}

// open returns the addresses that have connections.
func (c *Connections) open() map[netip.Addr]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.byAddress)
}

// all returns the open connections.
func (c *Connections) all() map[connection]struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make(map[connection]struct{}, len(c.tcp))
	for n := range c.tcp {
		out[*n] = struct{}{}
	}
	return out
}

// await has the watchers told when the last connection to one of some addresses
// ends.
func (c *Connections) await(addresses map[netip.Addr]struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.awaited = addresses
	for a := range addresses {
		if c.byAddress[a] == 0 {
			c.tell() // it has ended meanwhile
			return
		}
	}
}

// awaitMore is await for an address more.
func (c *Connections) awaitMore(a netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.awaited == nil {
		c.awaited = map[netip.Addr]struct{}{}
	}
	c.awaited[a] = struct{}{}
	if c.byAddress[a] == 0 {
		c.tell()
	}
}

// watch calls changed when there is something to look at, until the returned
// function is called. It must not block, nor call back.
func (c *Connections) watch(changed func()) (stop func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastID++
	id := c.lastID
	c.watchers[id] = changed
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.watchers, id)
	}
}

func (c *Connections) tell() {
	for _, changed := range c.watchers {
		changed()
	}
}
