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

// RemoveIdleTables deletes those of some tables that do nothing: they hold only base
// chains without rules, whose policy is to accept. That is what the nft variant of
// iptables makes for who asks for a table, and leaves there for ever.
//
// The kernel checks that they are empty when it deletes them: what somebody else puts
// there at the same moment stays.
func RemoveIdleTables(ctx context.Context, netns int, names ...string) error {
	c, err := dial(netns)
	if err != nil {
		return err
	}
	var errs []error
	for _, family := range []byte{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
		for _, name := range names {
			errs = append(errs, c.removeIdle(ctx, &table{family: family, name: name}))
		}
	}
	return errors.Join(append(errs, c.close())...)
}

func (c *conn) removeIdle(ctx context.Context, t *table) error {
	const accept = 1 // NF_ACCEPT
	b, idle := newBatch(), true
	err := c.dump(ctx, unix.NFT_MSG_GETCHAIN, t.family, t.named(),
		func() { b, idle = newBatch(), true },
		func(got []byte) error {
			if textOf(find(got, unix.NFTA_CHAIN_TABLE)) != t.name {
				return nil
			}
			policy := find(got, unix.NFTA_CHAIN_POLICY) // of base chains only
			if len(policy) != 4 || binary.BigEndian.Uint32(policy) != accept {
				idle = false
			}
			var w buffer
			w.text(unix.NFTA_CHAIN_TABLE, t.name)
			w.text(unix.NFTA_CHAIN_NAME, textOf(find(got, unix.NFTA_CHAIN_NAME)))
			b.last.put("deleting a chain of "+t.String(), unix.NFT_MSG_DELCHAIN, t.family, unix.NLM_F_NONREC, w.b)
			return nil
		})
	if err == nil && idle {
		b.last.put("deleting "+t.String(), unix.NFT_MSG_DELTABLE, t.family, unix.NLM_F_NONREC, t.named())
		err = c.commit(ctx, b)
	}
	if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.ENOENT) || isNoFamily(err) { // in use, or not there
		return nil
	}
	if err != nil {
		return fmt.Errorf("removing %s if it is idle: %w", t, err)
	}
	return nil
}
