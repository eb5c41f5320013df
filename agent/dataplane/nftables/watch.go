// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"

	"github.com/fairlead-proxy/fairlead/agent/dataplane/nattable"
	"github.com/fairlead-proxy/fairlead/agent/kernel/netdev"
	"github.com/fairlead-proxy/fairlead/agent/kernel/netlink"
	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/agent/kernel/routelocalnet"
)

// Watch calls changed after somebody else has touched our tables, after the
// node's addresses have changed, and when the kernel had to drop such news. It
// returns when ctx ends (nil) or when it cannot watch any more.
//
// What others do with their own tables is not looked at: reading ours back each
// time would cost a node with a busy firewall all of a core.
func (d *Dataplane) Watch(ctx context.Context, changed func()) error {
	ours := func(ctx context.Context, changed func()) error { return d.nft.Watch(ctx, concerns, changed) }
	return netlink.Watch(ctx, changed, ours, netdev.WatchAddresses(d.netns))
}

// concerns says whether a change is of one of our tables, and not our own.
func concerns(c nft.Change) bool {
	return nattable.Concerns(c) || !c.Own && c.Table == routelocalnet.TableName
}
