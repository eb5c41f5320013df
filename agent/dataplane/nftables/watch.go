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

// Watch calls changed after others have changed our tables, after the node's addresses
// have changed, and if the kernel dropped notifications. It returns when ctx ends (nil) or
// when it cannot watch any more.
//
// Changes of other tables are ignored: reading our tables back each time would take a
// whole CPU core on a node with a busy firewall.
func (d *Dataplane) Watch(ctx context.Context, changed func()) error {
	ours := func(ctx context.Context, changed func()) error { return d.nft.Watch(ctx, concerns, changed) }
	return netlink.Watch(ctx, changed, ours, netdev.WatchAddresses(d.netns))
}

// concerns says whether others have changed one of our tables.
func concerns(c nft.Change) bool {
	return nattable.Concerns(c) || !c.Own && c.Table == routelocalnet.TableName
}
