// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
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
		t, s := &table{family: family, name: tableName}, &snapshot{}
		t.describe("only has the kernel track connections", 0)
		err := t.readTable(ctx, d.conn, s)
		if isNoFamily(err) || err == nil && s.exists != instead {
			continue
		}
		if err == nil {
			b := newBatch()
			t.replace(b, instead)
			b.addChain(t.chain(chainPostrouting, &hook{number: unix.NF_INET_POST_ROUTING, priority: srcnat},
				t.rule("asks for connections, and does nothing", translated()...)))
			err = d.conn.commit(ctx, b)
		}
		if err != nil {
			return fmt.Errorf("having the kernel only track connections in %s: %w", t, err)
		}
	}
	return nil
}
