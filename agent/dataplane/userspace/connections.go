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

// How the file descriptors of the process are divided.
const (
	// perConnection is the number of descriptors of a TCP connection: one to the client
	// and one to the endpoint. While data is moved, splice needs a pipe in addition; if
	// none can be opened the data is copied.
	perConnection = 2
	perSession    = 1 // of UDP

	// reserveShare is the part of all descriptors (1/8), at most maxReserve, that is
	// reserved for the agent itself and for pipes.
	reserveShare = 8
	maxReserve   = 2048

	socketShare = 2

	// lastingRefusal is how long the status reports that connections were refused.
	lastingRefusal = time.Minute
)

// Connections are the open connections and UDP sessions of a process, and the free
// descriptors for more. There is one for the whole process, because connections outlive a
// Dataplane, which may be closed and replaced while they are open.
type Connections struct {
	clock clock.PassiveClock
	files func() uint64 // limit of open files of the process

	mu        sync.Mutex
	tcp       map[*connection]struct{}
	byAddress map[netip.Addr]int // number of TCP connections, by the address that the client connected to
	sessions  int
	sockets   int // listening
	refused   uint64
	refusedAt time.Time // zero: never
	collected time.Time // when garbage was last collected to free descriptors
	awaited   map[netip.Addr]struct{}
	watchers  map[int]func()
	lastID    int
}

// connection is a connection of a client to us.
type connection struct{ client, local netip.AddrPort }

// NewConnections returns Connections without any connection.
func NewConnections() *Connections {
	return &Connections{clock: clock.RealClock{}, files: fileLimit, tcp: map[*connection]struct{}{}, byAddress: map[netip.Addr]int{}, watchers: map[int]func(){}}
}

// fileLimit returns the soft limit of open files. Go raises it to the hard limit when a
// process starts.
func fileLimit() uint64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxInt32 // unknown: rely on the errors of the kernel
	}
	return min(limit.Cur, math.MaxInt32)
}

// room returns how many descriptors connections and sessions may still take.
func (c *Connections) room() int {
	all := int(c.files())
	return all - min(all/reserveShare, maxReserve) - c.sockets - c.sessions*perSession - len(c.tcp)*perConnection
}

// admit counts a new connection, unless there are no descriptors for it.
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

// release counts that a connection has been closed.
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
		c.notify()
	}
}

// admitSession counts a new session, unless there are no descriptors for it.
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

// maxSessions is the maximum number of sessions of a frontend: a quarter of the limit of
// open files, so that one frontend does not take them all.
func (c *Connections) maxSessions() int { return max(16, int(c.files())/4) }

// admitSocket counts a listening socket, unless there are no descriptors for it. Sockets
// take at most a part of all descriptors (1/socketShare), so that the clients of those that
// there are can connect.
func (c *Connections) admitSocket() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.room() < 1 || c.sockets >= int(c.files())/socketShare {
		return fmt.Errorf("no free file descriptor: %w: raise the limit of open files of the agent (RLIMIT_NOFILE)", unix.EMFILE)
	}
	c.sockets++
	return nil
}

func (c *Connections) releaseSocket() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sockets--
}

// exhausted counts a connection for which the kernel has no descriptor, although we
// counted on one. Pipes that were used to splice are closed only by the second garbage
// collection after their use, so run the garbage collector.
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

// collectInterval is the minimum time between such collections.
const collectInterval = 5 * time.Second

// refuse counts a refused connection, and notifies the watchers of the first one.
func (c *Connections) refuse() {
	c.refused++
	first := c.refusedAt.IsZero()
	c.refusedAt = c.clock.Now()
	if first {
		c.notify()
	}
}

// errFull says that connections are refused, and how to prevent it.
var errFull = errors.New("new connections are refused because no file descriptors are free: raise the limit of open files of the agent (RLIMIT_NOFILE; LimitNOFILE= of a systemd unit)")

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

// open returns the addresses that have connections, with their number.
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

// await makes the watchers be notified when the last connection to one of some addresses
// is closed.
func (c *Connections) await(addresses map[netip.Addr]struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.awaited = addresses
	for a := range addresses {
		if c.byAddress[a] == 0 {
			c.notify() // it is closed already
			return
		}
	}
}

// awaitMore adds an address to those of await.
func (c *Connections) awaitMore(a netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.awaited == nil {
		c.awaited = map[netip.Addr]struct{}{}
	}
	c.awaited[a] = struct{}{}
	if c.byAddress[a] == 0 {
		c.notify()
	}
}

// watch calls changed when there is something to look at, until stop is called. changed
// must not block, nor call Connections.
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

func (c *Connections) notify() {
	for _, changed := range c.watchers {
		changed()
	}
}
