// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/kernel/netlink"
)

// RemoveIdleTables deletes those of some tables, in both families, that do nothing: they
// hold only base chains without rules, with the policy accept. The nft variant of iptables
// adds such tables for a program that only lists a table, and leaves them there.
//
// The kernel checks that they are empty when it deletes them: rules that another program
// adds at the same moment stay.
func (c *Client) RemoveIdleTables(ctx context.Context, names ...string) error {
	var errs []error
	for _, family := range []byte{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
		for _, name := range names {
			errs = append(errs, c.removeIdle(ctx, &Table{Family: family, Name: name}))
		}
	}
	return errors.Join(errs...)
}

func (c *Client) removeIdle(ctx context.Context, t *Table) error {
	const accept = 1 // NF_ACCEPT
	b, idle := NewBatch(), true
	err := c.Dump(ctx, unix.NFT_MSG_GETCHAIN, t.Family, t.named(),
		func() { b, idle = NewBatch(), true },
		func(got []byte) error {
			if !t.has(got) {
				return nil
			}
			policy := netlink.Find(got, unix.NFTA_CHAIN_POLICY) // of base chains only
			if netlink.Number(policy) != accept {
				idle = false
			}
			var w netlink.Buffer
			w.Text(unix.NFTA_CHAIN_TABLE, t.Name)
			w.Text(unix.NFTA_CHAIN_NAME, netlink.Text(netlink.Find(got, unix.NFTA_CHAIN_NAME)))
			b.last.put("delete a chain of "+t.String(), unix.NFT_MSG_DELCHAIN, t.Family, unix.NLM_F_NONREC, w.B)
			return nil
		})
	if err == nil && idle {
		b.last.put("delete "+t.String(), unix.NFT_MSG_DELTABLE, t.Family, unix.NLM_F_NONREC, t.named())
		err = c.Commit(ctx, b)
	}
	if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.ENOENT) || IsNoFamily(err) { // in use, or it does not exist
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove %s if it is idle: %w", t, err)
	}
	return nil
}
