// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Incoming makes our tables where there are none, with nothing but what has the kernel
// track connections: those of a Proxy must be known before rules translate any. The
// first Sync replaces the tables.
func (d *Dataplane) Incoming(ctx context.Context, from dataplane.Kind) error {
	if from != dataplane.Proxy {
		return nil
	}
	return d.onlyTracking(ctx, false)
}

// Outgoing does nothing: connection tracking has our connections.
func (d *Dataplane) Outgoing(context.Context, dataplane.Kind) error { return nil }

// Released replaces our tables by such ones when a Proxy is in force, which meets
// nothing that our rules take first. They go when the connections have had some time.
func (d *Dataplane) Released(ctx context.Context, to dataplane.Kind, _ model.Desired, _ dataplane.Options) (time.Duration, error) {
	if to != dataplane.Proxy {
		return 0, nil
	}
	if d.released.IsZero() {
		if err := d.onlyTracking(ctx, true); err != nil {
			return 0, err
		}
		d.released = d.clock.Now()
	}
	return max(0, dataplane.LingerTime-d.clock.Since(d.released)), nil
}

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
