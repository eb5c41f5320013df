// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/fairlead-proxy/fairlead/agent/kernel/conntrack"
)

// remembered is longer than the kernel remembers a connection that has ended
// (nf_conntrack_tcp_timeout_time_wait and others).
const remembered = 3 * time.Minute

// tracking keeps connection tracking from translating our connections because of those that it
// has translated for the mode before, and perhaps only remembers. A connection of ours to an
// endpoint would be given another port if one of those has the same port and endpoint; that of a
// client to us would follow one from the same port. When the kernel begins or ends to translate,
// they would get no packet any more.
type tracking struct {
	clock clock.PassiveClock

	mu    sync.Mutex
	table *conntrack.Table
	until time.Time // the kernel is asked about each connection
}

func newTracking(netns int, clk clock.PassiveClock) *tracking {
	return &tracking{clock: clk, table: conntrack.NewTable(netns)}
}

// expect says that the kernel may translate connections now, or has done so until now.
func (t *tracking) expect() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.until = t.clock.Now().Add(remembered)
}

// expected says whether the kernel may begin to translate connections of ours.
func (t *tracking) expected() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.asks()
}

// arrived notes a new connection of a client to us: an earlier one from the same port that was
// translated has ended.
func (t *tracking) arrived(c connection) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.asks() {
		t.check(forgetTranslated(t.table, c))
	}
}

// asks says whether the kernel is asked.
func (t *tracking) asks() bool {
	yes := t.clock.Now().Before(t.until)
	if !yes {
		t.table.Close()
	}
	return yes
}

// check ends the questions after an error: perhaps the kernel has no connection tracking.
func (t *tracking) check(err error) {
	if err != nil {
		t.until = time.Time{}
		t.table.Close()
	}
}

// changesPort says whether the endpoint sees a new connection from another port than its own.
func (t *tracking) changesPort(c connection) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.asks() {
		return false
	}
	e, found, err := t.table.Find(c.client, c.local)
	if found {
		t.until = t.clock.Now().Add(remembered)
		return e.Seen.Port() != c.client.Port()
	}
	if err == nil { // tracking has ended
		err = forgetPort(t.table, c)
	}
	t.check(err)
	return false
}

// forgetTranslated deletes the entry by which the packets of a client's connection to us would be
// translated. It is of an earlier connection from the same port.
func forgetTranslated(table *conntrack.Table, c connection) error {
	e, found, err := table.Find(c.client, c.local)
	if found && e.Source == c.client && e.Destination != e.Endpoint {
		_, err = table.Delete(e)
	}
	return err
}

// forgetPort deletes the entry of another connection that has had the port of ours, which is
// not tracked. That one has ended: ours has its addresses.
func forgetPort(table *conntrack.Table, c connection) error {
	e, found, err := table.Find(c.local, c.client)
	if found {
		_, err = table.Delete(e)
	}
	return err
}

// keepPort adds a connection of ours, unless the kernel has tracked it all the time.
func keepPort(table *conntrack.Table, c connection) error {
	if _, found, err := table.Find(c.client, c.local); found || err != nil {
		return err
	}
	return errors.Join(forgetPort(table, c), table.Establish(c.client, c.local))
}

// toEndpoint is a connection of ours, whose client we are.
func toEndpoint(conn *net.TCPConn) connection {
	return connection{addressOf(conn.LocalAddr()), addressOf(conn.RemoteAddr())}
}

func addressOf(a net.Addr) netip.AddrPort {
	at := a.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}
