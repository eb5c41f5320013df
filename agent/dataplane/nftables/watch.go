// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/dataplane/kernelnews"
)

// loudOperations is how many operations a commit may have that we listen to. While
// anybody in the namespace listens, the kernel keeps a page and more of memory for
// each changed element until the commit has ended: to program 10,000 Services with
// node ports then takes 4 GB, and five times as long.
const loudOperations = 1000

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
	sources := []kernelnews.Source{d.news.Source(func(b []byte) bool { return touchesOurs(b, ours) })}
	if d.layout == balancing { // else the addresses are the caller's affair
		sources = append(sources, kernelnews.Addresses())
	}
	return kernelnews.Watch(ctx, d.netns, changed, sources...)
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

// touchesOurs says whether messages of the group NFNLGRP_NFTABLES hold a change
// of one of our tables that our socket did not make.
func touchesOurs(b []byte, ours uint32) bool {
	return kernelnews.Any(b, func(c kernelnews.Change) bool {
		return c.Port != ours && (c.Table == tableName || c.Table == guardName)
	})
}
