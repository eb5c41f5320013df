// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/kernel/netlink"
)

// Generation counts what others have committed to the ruleset of a network namespace. As
// long as it stays the same, the kernel's tables hold what the client has left there, and
// need not be read again. Reading takes the kernel time that grows with the square of a
// set's size. The zero value is unknown.
type Generation struct {
	Others uint32 // commits not by this client, modulo 2^32
	Known  bool
}

// Is says whether both are known and equal.
func (g Generation) Is(o Generation) bool { return g.Known && g == o }

// Generation returns the generation. It stays the same over successful commits of this
// client. A commit that failed without a reply may count as another's.
func (c *Client) Generation(ctx context.Context) (Generation, error) {
	number, err := c.Commits(ctx)
	if err != nil {
		return Generation{}, err
	}
	return Generation{number - c.commits, true}, nil
}

// Commits returns the number of commits in the network namespace, modulo 2^32.
func (c *Client) Commits(ctx context.Context) (uint32, error) {
	var w netlink.Buffer
	w.End(begin(&w, unix.NFT_MSG_GETGEN, unix.AF_UNSPEC, 0))
	var number uint32
	err := c.conn.Do(ctx, w.B, func(m netlink.Message) bool {
		attrs, _ := m.Attrs()
		id := netlink.Find(attrs, unix.NFTA_GEN_ID)
		number = netlink.Number(id)
		return id != nil
	})
	if err != nil {
		return 0, fmt.Errorf("get the generation of the ruleset: %w", err)
	}
	return number, nil
}
