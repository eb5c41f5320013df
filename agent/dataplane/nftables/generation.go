// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Generation tells whether anybody else has changed the ruleset. The kernel
// counts the commits in a namespace; as long as all of them were ours, its tables
// hold what we know they hold, and need not be read. To read them takes the
// kernel time that grows with the square of a set's size.
type Generation struct {
	Number uint32
	Known  bool
}

// After returns the generation when we have committed a number of times since g
// and the kernel says now. If that does not add up, others have committed too.
func (g Generation) After(commits int, now Generation) Generation {
	return Generation{now.Number, g.Known && now.Known && now.Number == g.Number+uint32(commits)}
}

// GenerationOf asks for the generation of a network namespace's ruleset.
func GenerationOf(ctx context.Context, netns int) (Generation, error) {
	c, err := dial(netns)
	if err != nil {
		return Generation{}, err
	}
	number, err := c.generation(ctx)
	if err := errors.Join(err, c.close()); err != nil {
		return Generation{}, err
	}
	return Generation{number, true}, nil
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
