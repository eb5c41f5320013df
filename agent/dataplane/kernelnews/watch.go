// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kernelnews hears by netlink of what changes in the kernel.
package kernelnews

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/mdlayher/socket"
	"golang.org/x/sys/unix"
)

const (
	// receiveSize is what a message can take, bufferSize what the kernel may keep for
	// us. What does not fit is answered by a look at the ruleset's generation, which
	// costs nothing if the changes were ours.
	receiveSize = 64 << 10
	bufferSize  = 4 << 20
)

// Source is a kind of news.
type Source struct {
	protocol int
	join     func(sock *socket.Conn, changed func()) error
	leave    func(sock *socket.Conn)
	tells    func(messages []byte) bool
}

// Addresses are news of the node's addresses.
func Addresses() Source {
	return Source{
		protocol: unix.NETLINK_ROUTE,
		join:     func(sock *socket.Conn, _ func()) error { return joinAddresses(sock) },
		leave:    func(*socket.Conn) {},
		tells:    func([]byte) bool { return true },
	}
}

// Source are news of the ruleset of nftables, of which tells says whether they are
// any.
func (r *Rules) Source(tells func(messages []byte) bool) Source {
	return Source{unix.NETLINK_NETFILTER, r.Listen, r.Forget, tells}
}

// Watch calls changed for news from some sources, in a network namespace (0 is that
// of the calling thread), and where the kernel had to drop some. It returns when ctx
// ends (nil) or when it cannot watch any more.
func Watch(ctx context.Context, netns int, changed func(), sources ...Source) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var group sync.WaitGroup
	errs := make(chan error, len(sources))
	for _, s := range sources {
		sock, err := Subscribe(netns, s.protocol, func(sock *socket.Conn) error { return s.join(sock, changed) })
		if err != nil {
			cancel()
			group.Wait()
			return err
		}
		group.Go(func() {
			defer cancel()
			err := listen(ctx, sock, s.tells, changed)
			s.leave(sock)
			errs <- errors.Join(err, sock.Close())
		})
	}
	group.Wait()
	close(errs)
	var err error
	for e := range errs {
		err = errors.Join(err, e)
	}
	return err
}

func joinAddresses(sock *socket.Conn) error {
	for _, group := range []int{unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR} {
		if err := sock.SetsockoptInt(unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, group); err != nil {
			return err
		}
	}
	return nil
}

// Subscribe opens a socket that hears of what join makes it a member of.
func Subscribe(netns, protocol int, join func(*socket.Conn) error) (*socket.Conn, error) {
	sock, err := socket.Socket(unix.AF_NETLINK, unix.SOCK_RAW, protocol, "netlink", &socket.Config{NetNS: netns})
	if err != nil {
		return nil, fmt.Errorf("opening a netlink socket to listen: %w", err)
	}
	setup := func() error {
		if err := sock.Bind(&unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return err
		}
		if err := force(sock, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, bufferSize); err != nil {
			return err
		}
		return join(sock)
	}
	if err := setup(); err != nil {
		return nil, errors.Join(fmt.Errorf("setting up a netlink socket to listen: %w", err), sock.Close())
	}
	return sock, nil
}

// listen calls changed for news that tells says are any.
func listen(ctx context.Context, sock *socket.Conn, tells func([]byte) bool, changed func()) error {
	buf := make([]byte, receiveSize)
	for {
		n, _, flags, _, err := sock.Recvmsg(ctx, buf, nil, 0)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS), err == nil && flags&unix.MSG_TRUNC != 0:
			changed() // something was lost
		case err != nil:
			return fmt.Errorf("listening to netlink: %w", err)
		case tells(buf[:n]):
			changed()
		}
	}
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

// Change is a message of the group NFNLGRP_NFTABLES.
type Change struct {
	Kind  int    // of message, such as unix.NFT_MSG_NEWRULE
	Port  uint32 // of the socket that made the change
	Table string
	Bytes []byte // of the whole message
}

// Any says whether messages of the group NFNLGRP_NFTABLES hold one that tells says
// is news, or one that nobody understands. In all of them the first attribute, of
// type 1, is the name of the table, but in those of a new generation.
func Any(b []byte, tells func(Change) bool) bool {
	const header, nameStart = 16, 16 + 4 + 4 // nlmsghdr, nfgenmsg, nlattr
	for len(b) >= header {
		length := int(binary.NativeEndian.Uint32(b))
		if length < header || length > len(b) {
			return true // better look
		}
		c := Change{Bytes: b[:length], Port: binary.NativeEndian.Uint32(b[12:])}
		kind := int(binary.NativeEndian.Uint16(b[4:]))
		c.Kind = kind & 0xff
		if kind>>8 == unix.NFNL_SUBSYS_NFTABLES && c.Kind != unix.NFT_MSG_NEWGEN && length >= nameStart {
			name, _, _ := bytes.Cut(c.Bytes[nameStart:], []byte{0})
			c.Table = string(name)
			if tells(c) {
				return true
			}
		}
		b = b[min(len(b), (length+3)&^3):]
	}
	return false
}
