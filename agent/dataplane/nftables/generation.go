// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// generation tells whether anybody else has changed the ruleset. The kernel
// counts the commits in a namespace; as long as all of them were ours, its tables
// hold what we know they hold, and need not be read. To read them takes the
// kernel time that grows with the square of a set's size.
type generation struct {
	number uint32
	known  bool
}

// after returns the generation when we have committed a number of times since g
// and the kernel says now. If that does not add up, others have committed too.
func (g generation) after(commits int, now uint32) generation {
	return generation{now, g.known && now == g.number+uint32(commits)}
}

// generation asks for the number of the ruleset's generation.
func (c *conn) generation(ctx context.Context) (uint32, error) {
	var w buffer
	w.end(w.begin(unix.NFT_MSG_GETGEN, unix.AF_UNSPEC, 0))
	first, _, err := c.send(ctx, w.b)
	if err != nil {
		return 0, err
	}
	for {
		b, err := c.receive(ctx)
		if err != nil {
			return 0, err
		}
		for m := range messages(b) {
			if m.seq != first || len(m.data) < nfgenmsgLen {
				continue
			}
			if m.typ == unix.NLMSG_ERROR {
				return 0, fmt.Errorf("asking for the ruleset's generation: %w", replyError(m))
			}
			if id := find(m.data[nfgenmsgLen:], unix.NFTA_GEN_ID); len(id) == 4 {
				return binary.BigEndian.Uint32(id), nil
			}
		}
	}
}
