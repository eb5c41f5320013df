// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"
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
			if err := d.conn.deleteTable(ctx, newTable(family, name, d.layout, false)); err != nil {
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
		err := newTable(family, name, l, false).readTable(ctx, d.conn, &s)
		if isNoFamily(err) {
			return false, nil
		}
		if err != nil || s.exists && s.broken == "" {
			return err == nil, err
		}
	}
	return false, nil
}

func (c *conn) deleteTable(ctx context.Context, t *table) error {
	b := newBatch()
	b.objects.put("deleting "+t.String(), unix.NFT_MSG_DELTABLE, t.family, 0, t.named())
	err := c.commit(ctx, b)
	if errors.Is(err, unix.ENOENT) || isNoFamily(err) { // not there
		return nil
	}
	return err
}

// isNoFamily says whether an error is that this kernel has no such address family.
func isNoFamily(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT)
}
