// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package conntrack lists, deletes and adds entries of the kernel's connection
// tracking, and sets its parameters. It does not know which entries are stale.
package conntrack

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/kernel/netlink"
)

// kernelTimeout is how long the kernel may take for a part of a reply. For a dump without
// a match it walks through its whole table.
const kernelTimeout = 30 * time.Second

// Table is the connection tracking of a network namespace. One goroutine uses it at a
// time, but Delete, Find and Establish may be called while Dump calls back.
type Table struct {
	netns int

	// Entries are deleted while a dump is in progress, so there are two sockets. They are
	// opened on first use.
	reading, writing *netlink.Conn

	received int // messages with entries
}

// NewTable returns the connection tracking of a network namespace, given by a file
// descriptor; 0 is the network namespace of the calling thread.
func NewTable(netns int) *Table { return &Table{netns: netns} }

// Close frees the sockets.
func (t *Table) Close() {
	closeConn(&t.reading)
	closeConn(&t.writing)
}

func closeConn(c **netlink.Conn) {
	if *c != nil {
		(*c).Close()
		*c = nil
	}
}

// Filter selects entries by the packets of their clients. A kernel that cannot filter
// (before Linux 5.8) returns others as well.
type Filter struct {
	V6       bool
	Protocol uint8 // such as unix.IPPROTO_UDP

	// Address and Port are the destination of the client's packets; the zero values match
	// all. With Reverse they are the source.
	Address netip.Addr
	Port    uint16
	Reverse bool

	// Unanswered selects only entries without a packet in the reply direction (since Linux
	// 5.18).
	Unanswered bool
}

// Entry is a conntrack entry of a flow.
type Entry struct {
	Protocol uint8 // such as unix.IPPROTO_UDP

	// Destination is where the client, Source, sends its packets. Endpoint is where the
	// kernel forwards them: the source of the expected reply. They differ if the
	// destination is translated.
	Source, Destination, Endpoint netip.AddrPort

	// Seen is where the endpoint sends its replies. It differs from Source if the source
	// is translated.
	Seen netip.AddrPort

	// Unanswered says that no reply has been seen yet; for TCP, that the client has sent
	// its SYN and no more.
	Unanswered bool

	// OtherZone says that the entry is not in the default zone. The same packet may be
	// tracked in several zones, of which only one translates it.
	OtherZone bool

	Name Name
}

// Clone returns the entry for use after the call of Dump.
func (e Entry) Clone() Entry {
	e.Name = Name{slices.Clone(e.Name.Tuple), slices.Clone(e.Name.Zone), slices.Clone(e.Name.ID)}
	return e
}

// Name is how the kernel identifies an entry, in the kernel's own encoding.
type Name struct{ Tuple, Zone, ID []byte }

// Dump calls each for the entries that a filter selects, as they arrive: there may be
// millions. After an interruption it starts again, and calls each for some of them twice.
// An entry is valid until each returns.
func (t *Table) Dump(ctx context.Context, f Filter, each func(Entry)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	late := time.AfterFunc(kernelTimeout, cancel)
	defer late.Stop()
	conn, err := t.open(&t.reading)
	if err == nil {
		err = conn.Dump(ctx, dumpRequest(f), func() {}, func(m netlink.Message) error {
			t.received++
			if e, ok := parse(m); ok {
				each(e)
			}
			late.Reset(kernelTimeout)
			return ctx.Err()
		})
	}
	if err != nil {
		closeConn(&t.reading) // a part of the reply may be left in it
		return fmt.Errorf("list conntrack entries: %w", err)
	}
	return nil
}

// Delete deletes this entry and, as far as the kernel can distinguish them, no newer one
// with the same addresses. It returns false if the entry no longer exists.
func (t *Table) Delete(e Entry) (bool, error) {
	err := t.execute(deleteRequest(e))
	switch {
	case errors.Is(err, unix.ENOENT):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("delete the conntrack entry of %s: %w", e.Destination, err)
	}
	return true, nil
}

// execute sends a request that the kernel acknowledges.
func (t *Table) execute(request []byte) error {
	conn, err := t.open(&t.writing)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), kernelTimeout)
	defer cancel()
	if err = conn.Do(ctx, request, nil); err != nil && !errors.Is(err, unix.ENOENT) {
		closeConn(&t.writing)
	}
	return err
}

// open opens a socket if there is none.
func (t *Table) open(c **netlink.Conn) (conn *netlink.Conn, err error) {
	if *c == nil {
		*c, err = netlink.Open(t.netns, unix.NETLINK_NETFILTER)
	}
	return *c, err
}
