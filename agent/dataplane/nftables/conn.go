// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mdlayher/socket"
	"golang.org/x/sys/unix"
)

const (
	// receiveSize is what a dump's message can take: the kernel fills up to 32 KiB.
	receiveSize = 64 << 10

	// bufferSize is what the kernel may keep for us. A batch has to go out in one
	// send, so the send buffer grows beyond it with the batch.
	bufferSize = 4 << 20

	// dumpTries is how often a dump is repeated that somebody's commit interrupted.
	dumpTries = 10
)

// errInterrupted is returned when dumpTries were not enough.
var errInterrupted = fmt.Errorf("the ruleset changed during %d dumps in a row: %w", dumpTries, unix.EINTR)

// conn is a netlink socket. The socket stays in the network namespace it was
// made in, whatever thread uses it.
type conn struct {
	sock   *socket.Conn
	seq    uint32
	buf    []byte
	sndbuf int
}

// dial opens a socket in a network namespace; 0 is that of the calling thread.
func dial(netns int) (*conn, error) {
	sock, err := socket.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER, "netlink", &socket.Config{NetNS: netns})
	if err != nil {
		return nil, fmt.Errorf("opening a netfilter netlink socket: %w", err)
	}
	c := &conn{sock: sock, buf: make([]byte, receiveSize)}
	setup := func() error {
		if err := sock.Bind(&unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return err
		}
		// Errors come back without the message that caused them, and with text.
		for _, option := range []int{unix.NETLINK_CAP_ACK, unix.NETLINK_EXT_ACK} {
			if err := sock.SetsockoptInt(unix.SOL_NETLINK, option, 1); err != nil {
				return err
			}
		}
		if err := force(sock, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, bufferSize); err != nil {
			return err
		}
		return c.growSendBuffer(bufferSize)
	}
	if err := setup(); err != nil {
		return nil, errors.Join(fmt.Errorf("setting up a netfilter netlink socket: %w", err), sock.Close())
	}
	return c, nil
}

// force sets a buffer's size beyond the system's limit, or up to the limit if we
// are not permitted to.
func force(sock *socket.Conn, privileged, ordinary, size int) error {
	err := sock.SetsockoptInt(unix.SOL_SOCKET, privileged, size)
	if errors.Is(err, unix.EPERM) {
		err = sock.SetsockoptInt(unix.SOL_SOCKET, ordinary, size)
	}
	return err
}

// growSendBuffer makes room for a message of a size.
func (c *conn) growSendBuffer(size int) error {
	if size <= c.sndbuf {
		return nil
	}
	if err := force(c.sock, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, size); err != nil {
		return fmt.Errorf("growing the send buffer to %d bytes: %w", size, err)
	}
	c.sndbuf = size
	return nil
}

func (c *conn) close() error { return c.sock.Close() }

// send fills in the sequence numbers first..last and sends the messages as one.
func (c *conn) send(ctx context.Context, b []byte) (first, last uint32, err error) {
	first = c.seq + 1
	for off := 0; off < len(b); off += align(int(binary.NativeEndian.Uint32(b[off:]))) {
		c.seq++
		binary.NativeEndian.PutUint32(b[off+8:], c.seq)
	}
	if err := c.growSendBuffer(len(b) + receiveSize); err != nil {
		return 0, 0, err
	}
	if _, err := c.sock.Sendmsg(ctx, b, nil, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}, 0); err != nil {
		return 0, 0, fmt.Errorf("sending %d bytes to netfilter: %w", len(b), err)
	}
	return first, c.seq, nil
}

// receive returns what the kernel has to say next; valid until the next call.
func (c *conn) receive(ctx context.Context) ([]byte, error) {
	n, _, flags, _, err := c.sock.Recvmsg(ctx, c.buf, nil, 0)
	if err != nil {
		return nil, fmt.Errorf("receiving from netfilter: %w", err)
	}
	if flags&unix.MSG_TRUNC != 0 {
		return nil, fmt.Errorf("receiving from netfilter: message longer than %d bytes", len(c.buf))
	}
	return c.buf[:n], nil
}

// dump asks for all objects of a kind and hands over each one's attributes as
// they arrive. It may have to start again, then it calls restart first.
func (c *conn) dump(ctx context.Context, msgType int, family byte, filter []byte, restart func(), each func(attrs []byte) error) error {
	for range dumpTries {
		restart()
		interrupted, err := c.dumpOnce(ctx, msgType, family, filter, each)
		if err != nil || !interrupted {
			return err
		}
	}
	return errInterrupted
}

// dumpOnce is one try of dump; interrupted says that it has to be repeated.
func (c *conn) dumpOnce(ctx context.Context, msgType int, family byte, filter []byte, each func([]byte) error) (interrupted bool, err error) {
	var w buffer
	start := w.begin(msgType, family, unix.NLM_F_DUMP)
	w.b = append(w.b, filter...)
	w.end(start)
	first, _, err := c.send(ctx, w.b)
	if err != nil {
		return false, err
	}
	// An error of each must not leave the rest of the dump in the socket: the
	// kernel has one dump at a time for each socket.
	var failed error
	for {
		b, err := c.receive(ctx)
		if err != nil {
			return false, err
		}
		for m := range messages(b) {
			if m.seq != first {
				continue // left over from a call that was cancelled
			}
			interrupted = interrupted || m.flags&unix.NLM_F_DUMP_INTR != 0
			switch m.typ {
			case unix.NLMSG_ERROR, unix.NLMSG_DONE:
				if err := replyError(m); err != nil && !errors.Is(err, unix.EINTR) {
					return false, err
				} else if err != nil {
					interrupted = true
				}
				return interrupted, failed
			default:
				if failed == nil && len(m.data) >= nfgenmsgLen {
					failed = each(m.data[nfgenmsgLen:])
				}
			}
		}
	}
}

// replyError returns the error in an acknowledgement, nil if it says success.
func replyError(m message) error {
	if len(m.data) < 4 {
		return nil
	}
	code := int32(binary.NativeEndian.Uint32(m.data))
	if code >= 0 {
		return nil
	}
	err := error(unix.Errno(-code))
	// The kernel's own words come after the header of the message they are about.
	const explained, textAttr = unix.NLM_F_ACK_TLVS, unix.NLMSGERR_ATTR_MSG
	if m.flags&explained != 0 && len(m.data) > 4+nlmsgHeaderLen {
		if text := find(m.data[4+nlmsgHeaderLen:], textAttr); text != nil {
			err = fmt.Errorf("%w (%s)", err, textOf(text))
		}
	}
	return err
}

// commit sends a batch, which the kernel takes as a whole or not at all.
func (c *conn) commit(ctx context.Context, b *batch) error {
	out, labels := b.encode()
	first, last, err := c.send(ctx, out)
	if err != nil {
		return err
	}
	// The kernel has already worked when send returns. It acknowledges the last
	// message before the end, and besides only errors. One on the batch's first
	// message is about the commit as a whole.
	acked := last - 1
	var errs []error
	for {
		buf, err := c.receive(ctx)
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		for m := range messages(buf) {
			if m.typ != unix.NLMSG_ERROR || m.seq < first || m.seq > last {
				continue
			}
			if err := replyError(m); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", labels[m.seq-first], err))
			}
			if m.seq == acked || m.seq == first {
				return errors.Join(errs...)
			}
		}
	}
}
