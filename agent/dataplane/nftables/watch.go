// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

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

// Watch calls changed after somebody else has touched our tables, after the
// node's addresses have changed, and when the kernel had to drop such news. It
// returns when ctx ends (nil) or when it cannot watch any more.
//
// What others do with their own tables is not looked at: reading ours back each
// time would cost a node with a busy firewall all of a core.
func (d *Dataplane) Watch(ctx context.Context, changed func()) error {
	ours, err := d.conn.port()
	if err != nil {
		return err
	}
	foreign := func(b []byte) bool { return touchesOurs(b, ours) }
	address := func([]byte) bool { return true }
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var group sync.WaitGroup
	type source struct {
		protocol int
		join     func(*socket.Conn) error
		tells    func([]byte) bool
	}
	sources := []source{{unix.NETLINK_NETFILTER, func(sock *socket.Conn) error { return d.news.listen(sock, changed) }, foreign}}
	if d.layout == balancing { // else the addresses are the caller's affair
		sources = append(sources, source{unix.NETLINK_ROUTE, joinAddresses, address})
	}
	errs := make(chan error, len(sources))
	for _, s := range sources {
		sock, err := subscribe(d.netns, s.protocol, s.join)
		if err != nil {
			cancel()
			group.Wait()
			return err
		}
		group.Go(func() {
			defer cancel()
			err := listen(ctx, sock, s.tells, changed)
			d.news.forget(sock)
			errs <- errors.Join(err, sock.Close())
		})
	}
	group.Wait()
	close(errs)
	for e := range errs {
		err = errors.Join(err, e)
	}
	return err
}

// port is the number of our socket, which the kernel puts into the news of what
// the socket has done.
func (c *conn) port() (uint32, error) {
	name, err := c.sock.Getsockname()
	if err != nil {
		return 0, fmt.Errorf("asking for the netlink port: %w", err)
	}
	address, ok := name.(*unix.SockaddrNetlink)
	if !ok {
		return 0, fmt.Errorf("asking for the netlink port: unexpected address %T", name)
	}
	return address.Pid, nil
}

func joinAddresses(sock *socket.Conn) error {
	for _, group := range []int{unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR} {
		if err := sock.SetsockoptInt(unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, group); err != nil {
			return err
		}
	}
	return nil
}

func subscribe(netns, protocol int, join func(*socket.Conn) error) (*socket.Conn, error) {
	sock, err := socket.Socket(unix.AF_NETLINK, unix.SOCK_RAW, protocol, "netlink", &socket.Config{NetNS: netns})
	if err != nil {
		return nil, fmt.Errorf("opening a netlink socket to listen: %w", err)
	}
	setup := func() error {
		if err := sock.Bind(&unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return err
		}
		// What does not fit is answered by a look at the generation, which costs
		// nothing if the changes were ours.
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

// touchesOurs says whether messages of the group NFNLGRP_NFTABLES hold a change
// of one of our tables that our socket did not make. In all of them the first
// attribute, of type 1, is the name of the table.
func touchesOurs(b []byte, ours uint32) bool {
	const nameStart = nlmsgHeaderLen + nfgenmsgLen + attrHeaderLen
	for len(b) >= nlmsgHeaderLen {
		length := int(binary.NativeEndian.Uint32(b))
		if length < nlmsgHeaderLen || length > len(b) {
			return true // not understood: better look
		}
		message := b[:length]
		kind := binary.NativeEndian.Uint16(message[4:])
		if port := binary.NativeEndian.Uint32(message[12:]); port != ours &&
			kind != unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWGEN && length >= nameStart {
			name, _, _ := bytes.Cut(message[nameStart:], []byte{0})
			if string(name) == tableName || string(name) == guardName {
				return true
			}
		}
		b = b[min(len(b), align(length)):]
	}
	return false
}
