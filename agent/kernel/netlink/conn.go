// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package netlink talks to the kernel over netlink sockets: it builds and parses messages
// without an allocation for each attribute, repeats dumps that a change interrupted, and
// receives multicast notifications.
//
// It is for the hot path, and for what other libraries do not support (nftables,
// connection tracking). Links, addresses and routes are in package netdev, which uses a
// library and shares only Retry with this package.
package netlink

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/socket"
	"golang.org/x/sys/unix"
)

const (
	// receiveSize is the size in bytes of the buffer for one receive. The kernel puts
	// up to 32 KiB into a message of a dump.
	receiveSize = 64 << 10

	// bufferSize is the size in bytes of the socket buffers in the kernel, in each
	// direction. A batch is sent in one call, so the send buffer grows with it.
	bufferSize = 4 << 20
)

// Conn is a netlink socket. It stays in the network namespace that it was opened in,
// whatever thread uses it. One goroutine uses it at a time.
type Conn struct {
	sock   *socket.Conn
	seq    uint32
	buf    []byte
	sndbuf int

	// dumping is the sequence number of a dump that is not received completely; 0: none.
	// The kernel has one dump at a time for each socket.
	dumping uint32
}

// Open opens a socket of a netlink protocol, such as unix.NETLINK_NETFILTER, in a
// network namespace: a file descriptor, or 0 for that of the calling thread.
func Open(netns, protocol int) (*Conn, error) {
	sock, err := socket.Socket(unix.AF_NETLINK, unix.SOCK_RAW, protocol, "netlink", &socket.Config{NetNS: netns})
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	c := &Conn{sock: sock, buf: make([]byte, receiveSize)}
	if err := c.setup(); err != nil {
		return nil, errors.Join(fmt.Errorf("set up a netlink socket: %w", err), sock.Close())
	}
	return c, nil
}

func (c *Conn) setup() error {
	if err := c.sock.Bind(&unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	// Errors come without the message that caused them, and with text.
	for _, option := range []int{unix.NETLINK_CAP_ACK, unix.NETLINK_EXT_ACK} {
		if err := c.sock.SetsockoptInt(unix.SOL_NETLINK, option, 1); err != nil {
			return err
		}
	}
	if err := c.force(unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, bufferSize); err != nil {
		return err
	}
	return c.growSendBuffer(bufferSize)
}

// force sets a buffer's size beyond the system's limit, or up to the limit without the
// privilege for that.
func (c *Conn) force(privileged, ordinary, size int) error {
	err := c.sock.SetsockoptInt(unix.SOL_SOCKET, privileged, size)
	if errors.Is(err, unix.EPERM) {
		err = c.sock.SetsockoptInt(unix.SOL_SOCKET, ordinary, size)
	}
	return err
}

// growSendBuffer makes room for a message of size bytes.
func (c *Conn) growSendBuffer(size int) error {
	if size <= c.sndbuf {
		return nil
	}
	if err := c.force(unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, size); err != nil {
		return fmt.Errorf("grow a netlink socket's send buffer to %d bytes: %w", size, err)
	}
	c.sndbuf = size
	return nil
}

// Close closes the socket.
func (c *Conn) Close() error { return c.sock.Close() }

// Sent returns how many messages have been sent, modulo 2^32.
func (c *Conn) Sent() uint32 { return c.seq }

// PortID returns the port ID of the socket, which the kernel puts into notifications of
// changes that the socket made.
func (c *Conn) PortID() (uint32, error) {
	name, err := c.sock.Getsockname()
	if err != nil {
		return 0, fmt.Errorf("get the port ID of a netlink socket: %w", err)
	}
	address, ok := name.(*unix.SockaddrNetlink)
	if !ok {
		return 0, fmt.Errorf("get the port ID of a netlink socket: unexpected address %T", name)
	}
	return address.Pid, nil
}

// Send sets the sequence numbers first to last of the messages in b and sends them in one
// call.
func (c *Conn) Send(ctx context.Context, b []byte) (first, last uint32, err error) {
	if c.dumping != 0 {
		if err := c.drain(ctx); err != nil {
			return 0, 0, err
		}
	}
	first = c.seq + 1
	for off := 0; off < len(b); off += align(int(binary.NativeEndian.Uint32(b[off:]))) {
		c.seq++
		binary.NativeEndian.PutUint32(b[off+8:], c.seq)
	}
	if err := c.growSendBuffer(len(b) + receiveSize); err != nil {
		return 0, 0, err
	}
	_, err = c.sock.Sendmsg(ctx, b, nil, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}, 0)
	c.disarm(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("send %d bytes to netlink: %w", len(b), err)
	}
	return first, c.seq, nil
}

// disarm makes the socket usable again after a context has ended: if that happens just
// when a call returns, the library leaves the deadline set by which it cancels calls.
func (c *Conn) disarm(ctx context.Context) {
	if ctx.Err() != nil {
		_ = c.sock.SetDeadline(time.Time{}) // fails only if the socket is closed
	}
}

// Receive returns the next messages from the kernel; valid until the next call.
func (c *Conn) Receive(ctx context.Context) ([]byte, error) {
	n, _, flags, _, err := c.sock.Recvmsg(ctx, c.buf, nil, 0)
	c.disarm(ctx)
	if err != nil {
		return nil, fmt.Errorf("receive from netlink: %w", err)
	}
	if flags&unix.MSG_TRUNC != 0 {
		return nil, fmt.Errorf("receive from netlink: message longer than %d bytes: %w", len(c.buf), unix.EMSGSIZE)
	}
	return c.buf[:n], nil
}

// Do sends one message and calls answer for the replies of the kernel, until that returns
// true or the kernel acknowledges the message (which it does after an error, and if the
// message has the flag NLM_F_ACK). It returns the error in the acknowledgement. If answer
// is nil, only the acknowledgement counts.
func (c *Conn) Do(ctx context.Context, request []byte, answer func(Message) (done bool)) error {
	first, _, err := c.Send(ctx, request)
	if err != nil {
		return err
	}
	for {
		b, err := c.Receive(ctx)
		if err != nil {
			return err
		}
		for m := range Messages(b) {
			switch {
			case m.Seq != first: // left over from a cancelled call
			case m.Type == unix.NLMSG_ERROR:
				return m.Err()
			case answer != nil && answer(m):
				return nil
			}
		}
	}
}
