// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
)

var _ dataplane.Lingerer = (*Dataplane)(nil)

// Linger replaces our tables by ones that have no rules. As long as anybody has a chain
// for NAT, the kernel translates the packets of the connections that it knows.
func (d *Dataplane) Linger(ctx context.Context) error {
	const srcnat = 100
	d.last = nil
	for _, family := range []byte{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
		t, s := &table{family: family, name: tableName}, &snapshot{}
		t.describe("open connections are translated for a moment", 0)
		err := t.readTable(ctx, d.conn, s)
		if isNoFamily(err) || err == nil && !s.exists {
			continue
		}
		if err == nil {
			b := newBatch()
			t.replace(b, true)
			b.addChain(t.chain(chainPostrouting, &hook{number: unix.NF_INET_POST_ROUTING, priority: srcnat}))
			err = d.conn.commit(ctx, b)
		}
		if err != nil {
			return fmt.Errorf("taking the rules out of %s: %w", t, err)
		}
	}
	return nil
}
