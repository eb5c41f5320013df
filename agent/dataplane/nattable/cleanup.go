// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nattable

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
)

// underWay is how long a packet may be looked up. It takes a microsecond, if its processor, which
// may be a virtual one, goes on working.
const underWay = 20 * time.Millisecond

// Cleanup deletes the tables, unless another target uses them by now.
func (t *Tables) Cleanup(ctx context.Context) error {
	t.last, t.ours, t.next = nil, nil, nil
	var tables []*nft.Table
	for _, family := range []byte{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
		for _, name := range []string{TableName, probeName} {
			others, err := t.isOthers(ctx, family, name)
			if err != nil {
				return err
			}
			if !others {
				tables = append(tables, nft.NewTable(family, name, t.Target.comment, false))
			}
		}
	}
	if err := t.stopLookups(ctx, tables); err != nil {
		return err
	}
	for _, table := range tables {
		if err := t.Client.DeleteTable(ctx, table); err != nil {
			return err
		}
	}
	return nil
}

// isOthers says whether a table belongs to another target.
func (t *Tables) isOthers(ctx context.Context, family byte, name string) (bool, error) {
	for _, target := range targets() {
		if target.comment == t.Target.comment {
			continue
		}
		exists, same, err := nft.ReadTable(ctx, t.Client, nft.NewTable(family, name, target.comment, false))
		if nft.IsNoFamily(err) {
			return false, nil
		}
		if err != nil || exists && same {
			return err == nil, err
		}
	}
	return false, nil
}

// stopLookups removes the rules that look packets up, before the tables are deleted. To a packet
// that is being looked up, the deletion is not atomic: it finds the set of cluster IPs, but not
// the map of frontends any more, and is refused (seen on Linux 6.1 and 6.18). Without these
// rules no packet is looked up when the maps go. What is translated already is masqueraded
// until then.
func (t *Tables) stopLookups(ctx context.Context, tables []*nft.Table) error {
	var stopped <-chan time.Time
	for _, table := range tables {
		b := nft.NewBatch()
		for _, name := range []string{chainPrerouting, chainOutput} {
			empty := table.NewChain(name, nil)
			b.AddChain(empty) // another layout may not have it
			b.RewriteRules(empty)
		}
		err := t.Client.Commit(ctx, b)
		switch {
		case err == nil:
			stopped = time.After(underWay)
		case !errors.Is(err, unix.ENOENT) && !nft.IsNoFamily(err): // else there is no table
			return err
		}
	}
	if stopped == nil {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-stopped:
		return nil
	}
}

// OnlyTrack makes tables that do nothing, in place of ours or if there are none. The first
// change replaces them. The kernel translates packets of known connections as long as any
// NAT chain exists, and tracks connections as long as any rule matches their state.
func (t *Tables) OnlyTrack(ctx context.Context, instead bool) error {
	t.last, t.ours, t.next = nil, nil, nil
	var tables []*nft.Table
	for _, family := range []byte{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
		table := nft.NewTable(family, TableName, "only has the kernel track connections", false)
		exists, _, err := nft.ReadTable(ctx, t.Client, table)
		switch {
		case err == nil && exists == instead:
			tables = append(tables, table)
		case err != nil && !nft.IsNoFamily(err):
			return fmt.Errorf("read %s: %w", table, err)
		}
	}
	if instead {
		if err := t.stopLookups(ctx, tables); err != nil {
			return err
		}
	}
	for _, table := range tables {
		if err := t.Client.Commit(ctx, onlyTrack(table, instead)); err != nil {
			return fmt.Errorf("have the kernel only track connections in %s: %w", table, err)
		}
	}
	return nil
}

// onlyTrack returns the transaction that makes such a table, in place of one that exists.
func onlyTrack(table *nft.Table, instead bool) *nft.Batch {
	const srcnat = 100
	b := nft.NewBatch()
	if instead {
		b.DeleteTable(table)
	}
	b.AddTable(table)
	b.AddChain(table.NewChain(chainPostrouting, &nft.Hook{Number: unix.NF_INET_POST_ROUTING, Priority: srcnat},
		table.NewRule("asks for connections, and does nothing", nft.Translated()...)))
	return b
}
