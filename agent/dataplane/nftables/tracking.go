// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
)

var (
	_ dataplane.Tracker  = (*Dataplane)(nil)
	_ dataplane.Lingerer = (*Dataplane)(nil)
)

// Track makes our tables where there are none, with nothing but what has the kernel
// track connections. The first Sync replaces them.
func (d *Dataplane) Track(ctx context.Context) error { return d.onlyTracking(ctx, false) }

// Linger replaces our tables by such ones.
func (d *Dataplane) Linger(ctx context.Context) error { return d.onlyTracking(ctx, true) }

// onlyTracking makes tables that do nothing, in the place of ours or where we have none.
// The kernel translates the packets of the connections that it knows if anybody has a
// chain for NAT, and knows them if anybody has a rule that asks for their state.
func (d *Dataplane) onlyTracking(ctx context.Context, instead bool) error {
	const srcnat = 100
	d.last = nil
	for _, family := range []byte{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
		t, s := &table{Table: nft.NewTable(family, tableName, "only has the kernel track connections", false)}, &snapshot{}
		err := t.readTable(ctx, d.nft, s)
		if nft.IsNoFamily(err) || err == nil && s.exists != instead {
			continue
		}
		if err == nil {
			b := nft.NewBatch()
			t.replace(b, instead)
			b.AddChain(t.NewChain(chainPostrouting, &nft.Hook{Number: unix.NF_INET_POST_ROUTING, Priority: srcnat},
				t.NewRule("asks for connections, and does nothing", nft.Translated()...)))
			err = d.nft.Commit(ctx, b)
		}
		if err != nil {
			return fmt.Errorf("having the kernel only track connections in %s: %w", t, err)
		}
	}
	return nil
}
