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

// Watch calls changed after the node's addresses have changed and, with the nft
// variant, after somebody else has touched our chains or the jumps to them. The
// kernel tells nobody of changes in legacy tables: they are read back now and then. It
// returns when ctx ends (nil) or when it cannot watch any more.
//
// Rules of others in the same tables are not looked at: reading ours back each time
// would cost a node with a busy firewall all of a core.
func (d *Dataplane) Watch(ctx context.Context, changed func()) error {
	if d.nft == nil {
		return netlink.Watch(ctx, changed, netdev.WatchAddresses(d.netns))
	}
	rules := func(ctx context.Context, changed func()) error { return d.nft.Watch(ctx, d.concerns, changed) }
	return netlink.Watch(ctx, changed, netdev.WatchAddresses(d.netns), rules)
}

// concerns says whether a change is one of our chains that our programs did not make.
// All such changes have the name of one of our chains in them, as that of the chain or
// as where a rule leads to.
func (d *Dataplane) concerns(c nft.Change) bool {
	return slices.Contains(tables, c.Table) && bytes.Contains(c.Bytes, []byte(prefix)) && !d.children.started(c.Port)
}

// children are the programs that we have started last. The number of a program's
// first netlink socket is that of its process.
type children struct {
	mu   sync.Mutex
	last [16]uint32
	next int
}

// start starts a program. Nobody is told what it does before it is known to be ours.
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
