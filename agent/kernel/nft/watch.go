// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"bytes"
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/kernel/netlink"
)

// LoudOperations is the maximum number of operations of a commit whose notifications are
// received. While a socket in the network namespace is a member of the group, the kernel
// keeps more than a page of memory for each changed object until the commit has ended:
// 10,000 Services with node ports then take 4 GB, and five times as long.
const LoudOperations = 1000

// Change is a notification of a change of the ruleset.
type Change struct {
	Kind  int    // such as unix.NFT_MSG_NEWRULE
	Port  uint32 // of the socket that made the change
	Own   bool   // this client made it
	Table string
	Bytes []byte // the whole message
}

// Watch calls changed after a change of the ruleset for which concern returns true, and if
// a notification may have been missed: when the kernel dropped some, and after a large
// commit of this client if others have committed during it. It returns when ctx ends (nil)
// or when it cannot watch any more.
func (c *Client) Watch(ctx context.Context, concern func(Change) bool, changed func()) error {
	own, err := c.conn.PortID()
	if err != nil {
		return err
	}
	conn, err := netlink.Open(c.netns, unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	err = c.listen(conn, changed)
	if err == nil {
		err = conn.Listen(ctx, func(b []byte) bool { return AnyChange(b, own, concern) }, changed)
	}
	c.forget()
	return errors.Join(err, conn.Close())
}

// Watched says whether Watch receives notifications, or would except for Quietly.
func (c *Client) Watched() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.listener != nil
}

func (c *Client) listen(conn *netlink.Conn, changed func()) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.quiet == 0 {
		if err := conn.Join(unix.NFNLGRP_NFTABLES); err != nil {
			return err
		}
	}
	c.listener, c.changed = conn, changed
	return nil
}

// forget is called before the socket is closed.
func (c *Client) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listener, c.changed = nil, nil
}

// Quietly calls work, which makes a number of operations in a number of commits. Commit
// does the same itself; other callers use it for commits that a program makes on behalf of
// the client. With more than LoudOperations operations no socket is a member of the group
// during work, and Watch reports what was missed.
func (c *Client) Quietly(ctx context.Context, operations, commits int, work func() error) error {
	return c.quietly(ctx, operations, func() error {
		err := work()
		if err == nil {
			c.commits += uint32(commits)
		}
		return err
	})
}

// quietly is Quietly for work that counts its commits.
func (c *Client) quietly(ctx context.Context, operations int, work func() error) error {
	if operations <= LoudOperations {
		return work()
	}
	before, err := c.Generation(ctx) // what others have committed by now is received
	if err != nil {
		return err
	}
	if err := c.mute(); err != nil {
		return err
	}
	return errors.Join(work(), c.unmute(), c.report(ctx, before))
}

func (c *Client) mute() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.quiet++
	if c.listener == nil || c.quiet > 1 {
		return nil
	}
	return c.listener.Leave(unix.NFNLGRP_NFTABLES)
}

func (c *Client) unmute() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.quiet--
	if c.listener == nil || c.quiet > 0 {
		return nil
	}
	return c.listener.Join(unix.NFNLGRP_NFTABLES)
}

// report calls Watch's changed if others have committed since a generation. It is called
// while the socket is a member of the group again.
func (c *Client) report(ctx context.Context, before Generation) error {
	if !c.Watched() {
		return nil
	}
	now, err := c.Generation(ctx)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !before.Is(now) && c.changed != nil {
		c.changed()
	}
	return nil
}

// AnyChange says whether notifications of the group NFNLGRP_NFTABLES hold a change for
// which concern returns true, or one that cannot be parsed. own is the port ID of the
// socket whose changes are Own. The first attribute, of number 1, is the name of the table
// in all of them, except in notifications of a new generation, which are skipped.
func AnyChange(b []byte, own uint32, concern func(Change) bool) bool {
	const nameStart = 4 + 4 // after nfgenmsg and the attribute's header
	rest := len(b)
	for m := range netlink.Messages(b) {
		start := len(b) - rest
		length := netlink.HeaderLen + len(m.Data)
		rest -= min((length+3)&^3, rest)
		kind := int(m.Type & 0xff)
		if m.Type>>8 != unix.NFNL_SUBSYS_NFTABLES || kind == unix.NFT_MSG_NEWGEN || len(m.Data) < nameStart {
			continue
		}
		name, _, _ := bytes.Cut(m.Data[nameStart:], []byte{0})
		if concern(Change{kind, m.Port, m.Port == own, string(name), b[start : start+length]}) {
			return true
		}
	}
	return rest >= netlink.HeaderLen // truncated: assume a change
}
