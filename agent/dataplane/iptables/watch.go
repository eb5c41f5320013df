// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"bytes"
	"context"
	"os/exec"
	"slices"
	"sync"

	"github.com/fairlead-proxy/fairlead/agent/kernel/netdev"
	"github.com/fairlead-proxy/fairlead/agent/kernel/netlink"
	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
)

// Watch calls changed after the node's addresses have changed and, with the nft variant,
// after others have changed our chains or the jumps to them. The kernel sends no
// notifications for legacy tables: they are read back periodically. Watch returns when ctx
// ends (nil) or when it cannot watch any more.
//
// Changes of other rules in the same tables are ignored: reading our rules back each time
// would take a whole CPU core on a node with a busy firewall.
func (d *Dataplane) Watch(ctx context.Context, changed func()) error {
	if d.nft == nil {
		return netlink.Watch(ctx, changed, netdev.WatchAddresses(d.netns))
	}
	rules := func(ctx context.Context, changed func()) error { return d.nft.Watch(ctx, d.concerns, changed) }
	return netlink.Watch(ctx, changed, netdev.WatchAddresses(d.netns), rules)
}

// concerns says whether a change is one of our chains, and was not made by a program of
// ours. Such a message contains the name of one of our chains, as the chain or as the
// target of a rule.
func (d *Dataplane) concerns(c nft.Change) bool {
	return slices.Contains(tables, c.Table) && bytes.Contains(c.Bytes, []byte(prefix)) && !d.children.started(c.Port)
}

// children are the programs started last. The port ID of a program's first netlink socket
// is its process ID.
type children struct {
	mu   sync.Mutex
	last [16]uint32
	next int
}

// start starts a program, and holds back notifications until its process ID is known.
func (c *children) start(cmd *exec.Cmd) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return err
	}
	c.last[c.next%len(c.last)] = uint32(cmd.Process.Pid)
	c.next++
	return nil
}

func (c *children) started(port uint32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.last[:], port)
}
