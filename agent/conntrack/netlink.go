// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/kernel/netdev"
)

const (
	// dumpTries is how often a dump is repeated that was interrupted.
	dumpTries = 5

	// kernelTimeout is how long the kernel may take for a part of an answer. It
	// walks through all of its table for a dump that finds nothing.
	kernelTimeout = 30 * time.Second
)

// Netlink is the connection tracking of a network namespace.
type Netlink struct {
	space netns.NsHandle

	// A dump is under way while its entries are deleted: so there are two sockets.
	// They are opened when they are needed.
	reading, deleting *nl.SocketHandle

	received int // messages with entries
}

// NewNetlink returns the connection tracking of a network namespace, given by a
// file descriptor; 0 is the namespace of the calling thread.
func NewNetlink(space int) *Netlink {
	return &Netlink{space: netdev.Namespace(space)}
}

// Close frees the sockets.
func (n *Netlink) Close() {
	closeSocket(&n.reading)
	closeSocket(&n.deleting)
}

func closeSocket(s **nl.SocketHandle) {
	if *s != nil {
		(*s).Close()
		*s = nil
	}
}

// Dump implements Kernel.
func (n *Netlink) Dump(ctx context.Context, f Filter, each func(Entry)) error {
	for range dumpTries {
		err := n.dumpOnce(ctx, f, each)
		if !interrupted(err) {
			return err
		}
	}
	return fmt.Errorf("conntrack: interrupted %d times in a row: %w", dumpTries, unix.EINTR)
}

// interrupted says that a dump may be incomplete, and may succeed if repeated.
func interrupted(err error) bool {
	return errors.Is(err, nl.ErrDumpInterrupted) || errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENOBUFS)
}

func (n *Netlink) dumpOnce(ctx context.Context, f Filter, each func(Entry)) error {
	err := n.execute(&n.reading, dumpRequest(f), func(b []byte) bool {
		n.received++
		if e, ok := parse(b); ok {
			each(e)
		}
		return ctx.Err() == nil
	})
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("list conntrack entries: %w", err)
	}
	return nil
}

// Delete implements Kernel.
func (n *Netlink) Delete(e Entry) (bool, error) {
	err := n.execute(&n.deleting, deleteRequest(e), func([]byte) bool { return true })
	switch {
	case errors.Is(err, unix.ENOENT):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("delete the conntrack entry of %s: %w", e.Destination, err)
	}
	return true, nil
}

// execute sends a request over a socket, which is opened if there is none.
func (n *Netlink) execute(s **nl.SocketHandle, r *nl.NetlinkRequest, each func([]byte) bool) error {
	if *s == nil {
		socket, err := nl.GetNetlinkSocketAt(n.space, netns.None(), unix.NETLINK_NETFILTER)
		if err != nil {
			return fmt.Errorf("open a netlink socket: %w", err)
		}
		*s = &nl.SocketHandle{Socket: socket}
		timeout := unix.NsecToTimeval(kernelTimeout.Nanoseconds())
		if err := errors.Join(socket.SetReceiveTimeout(&timeout), socket.SetExtAck(true)); err != nil {
			closeSocket(s)
			return fmt.Errorf("set up a netlink socket: %w", err)
		}
	}
	r.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_NETFILTER: *s}
	err := r.ExecuteIter(unix.NETLINK_NETFILTER, 0, each)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		closeSocket(s) // a part of the answer may be left in it
	}
	return err
}

// Addresses implements Kernel.
func (n *Netlink) Addresses() ([]netip.Addr, error) { return netdev.AddressesOf(n.space) }
