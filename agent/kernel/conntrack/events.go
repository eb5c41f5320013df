// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/kernel/netlink"
	"github.com/fairlead-proxy/fairlead/agent/kernel/sysctl"
)

// Events are the new flows of a network namespace whose destination is translated.
type Events struct {
	stream   *netlink.Stream
	received int // messages
}

// Selection says which of them to receive.
type Selection struct {
	// Clients are the sources; nil: all.
	Clients []netip.Addr
	// Destinations are where the clients send their packets; nil: everywhere.
	Destinations []Destination
}

// Destination is an address and port. The unspecified address stands for all.
type Destination struct {
	Protocol uint8
	Address  netip.Addr
	Port     uint16
}

// lookInterval is how often to look for events: a wake-up costs more than an event, and each is to be shown within 100 ms.
const lookInterval = 40 * time.Millisecond

// loadTimeout is how long a module may take to load, on a busy machine.
const loadTimeout = 30 * time.Second

const eventsName = "net/netfilter/nf_conntrack_events"

// ErrNoEvents is returned where the kernel reports no new flows.
var ErrNoEvents = errors.New("the kernel reports no new connections")

// OpenEvents opens the events of a network namespace, given as in NewTable, which has these parameters.
func OpenEvents(netns int, parameters sysctl.Parameters, s Selection) (*Events, error) {
	switch value, err := parameters.Get(eventsName); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: it is built without CONFIG_NF_CONNTRACK_EVENTS, or does not track connections", ErrNoEvents)
	case err != nil:
		return nil, err
	case value == "0":
		return nil, fmt.Errorf("%w: the sysctl net.netfilter.nf_conntrack_events is 0", ErrNoEvents)
	}
	if err := load(netns); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoEvents, err)
	}
	program, err := programOf(s)
	if err != nil {
		return nil, err
	}
	stream, err := netlink.OpenStream(netns, unix.NETLINK_NETFILTER, program, unix.NFNLGRP_CONNTRACK_NEW)
	if err != nil {
		return nil, err
	}
	return &Events{stream: stream}, nil
}

// load loads the module that reports flows (nf_conntrack_netlink). Joining its group loads it too, but does not wait for it.
func load(netns int) error {
	conn, err := netlink.Open(netns, unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), loadTimeout)
	defer cancel()
	return errors.Join(conn.Do(ctx, statsRequest(getStats, 0), func(netlink.Message) bool { return true }), conn.Close())
}

// Close frees the socket.
func (e *Events) Close() error { return e.stream.Close() }

// Select changes which events are received. It may be called while another goroutine follows them. Those
// that have arrived before stay.
func (e *Events) Select(s Selection) error {
	program, err := programOf(s)
	if err != nil {
		return err
	}
	return e.stream.Select(program)
}

// Follow calls each for new flows, until ctx ends (nil) or an error. Not all of them are of the selection, if that is
// long. An entry is valid until each returns. After those that are there it calls rest, with the number of
// flows that the kernel could not report for want of room, since the socket was opened.
func (e *Events) Follow(ctx context.Context, each func(Entry), rest func(dropped uint32) error) error {
	return e.stream.Follow(ctx, lookInterval, func(m netlink.Message) {
		e.received++
		if entry, ok := parse(m); ok && entry.Destination != entry.Endpoint {
			each(entry)
		}
	}, rest)
}
