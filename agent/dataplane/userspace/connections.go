// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"fmt"
	"maps"
	"math"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/utils/clock"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/rules/model"
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
	flows dataplane.Flows

	mu        sync.Mutex
	tcp       map[*connection]holder
	onward    map[*connection]connection // from us to an endpoint, by that of the client
	byAddress map[netip.Addr]int         // number of TCP connections, by the address that the client connected to
	sessions  int
	sockets   int // listening
	shares    shares
	refused   uint64
	refusals  map[error]refusal // the last one, by the reason
	collected time.Time         // when garbage was last collected to free descriptors
	awaited   map[netip.Addr]struct{}
	watchers  map[int]func()
	lastID    int
}

// refusal is a refused connection or session.
type refusal struct {
	at     time.Time
	holder holder
}

// connection is a connection of a client to us, or one of ours, as the client, to an endpoint.
type connection struct{ client, local netip.AddrPort }

// NewConnections returns Connections without any connection.
func NewConnections() *Connections {
	return &Connections{clock: clock.RealClock{}, files: fileLimit, tcp: map[*connection]holder{}, onward: map[*connection]connection{}, byAddress: map[netip.Addr]int{},
		shares: newShares(), refusals: map[error]refusal{}, watchers: map[int]func(){}}
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

// take counts descriptors of a holder, unless there are too few. mu is held.
func (c *Connections) take(h holder, n int) error {
	if err := c.shares.allow(h, n, c.room()); err != nil {
		c.refuse(err, h)
		return err
	}
	c.shares.take(h, n)
	return nil
}

// admit counts a new connection to a Service, unless there are no descriptors for it.
func (c *Connections) admit(n *connection, service model.ServiceID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := newHolder(service, n.client.Addr())
	if c.take(h, perConnection) != nil {
		return false
	}
	c.tcp[n] = h
	c.byAddress[n.local.Addr()]++
	return true
}

// release counts that a connection has been closed.
func (c *Connections) release(n *connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := n.local.Addr()
	c.shares.give(c.tcp[n], perConnection)
	delete(c.tcp, n)
	delete(c.onward, n)
	if c.byAddress[a]--; c.byAddress[a] > 0 {
		return
	}
	delete(c.byAddress, a)
	if _, waiting := c.awaited[a]; waiting {
		c.notify()
	}
}

// admitSession counts a new session, unless there are no descriptors for it.
func (c *Connections) admitSession(h holder) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.take(h, perSession); err != nil {
		return err
	}
	c.sessions++
	return nil
}

func (c *Connections) releaseSession(h holder) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shares.give(h, perSession)
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
	c.refuse(errFull, holder{})
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

// refuse counts a refused connection, and notifies the watchers of the first one for this
// reason.
func (c *Connections) refuse(why error, h holder) {
	c.refused++
	_, known := c.refusals[why]
	c.refusals[why] = refusal{c.clock.Now(), h}
	if !known {
		c.notify()
	}
}

// refusedFor returns the last connection that was refused for a reason in the last minute.
func (c *Connections) refusedFor(why error) (last refusal, yes bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	last, yes = c.refusals[why]
	if yes && c.clock.Since(last.at) >= lastingRefusal {
		delete(c.refusals, why)
		yes = false
	}
	return last, yes
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

// leads notes the connection to an endpoint that a client's connection is proxied to.
func (c *Connections) leads(n *connection, to connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.onward[n] = to
}

// toEndpoints returns the open connections to endpoints.
func (c *Connections) toEndpoints() []connection {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Values(c.onward))
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
