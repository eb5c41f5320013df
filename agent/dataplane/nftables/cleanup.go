// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
)

// Cleanup deletes our tables, unless they are another mode's by now. It fails if
// it cannot set a sysctl back.
func (d *Dataplane) Cleanup(ctx context.Context) error {
	d.last = nil
	for _, family := range []byte{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
		for _, name := range []string{tableName, probeName} {
			others, err := d.isOthers(ctx, family, name)
			if err != nil {
				return err
			}
			if others {
				continue
			}
			if err := d.nft.DeleteTable(ctx, newTable(family, name, d.layout, false).Table); err != nil {
				return err
			}
		}
	}
	if d.layout != balancing {
		return nil
	}
	return d.localhost.Cleanup(ctx)
}

// isOthers says whether a table has the layout of another mode.
func (d *Dataplane) isOthers(ctx context.Context, family byte, name string) (bool, error) {
	for l := range layouts {
		if l == d.layout {
			continue
		}
		var s snapshot
		err := newTable(family, name, l, false).readTable(ctx, d.nft, &s)
		if nft.IsNoFamily(err) {
			return false, nil
		}
		if err != nil || s.exists && s.broken == "" {
			return err == nil, err
		}
	}
	return false, nil
}
