// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package netlink

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// HasFamily says whether the kernel has a family of generic netlink, such as IPVS. The kernel
// tries to load the family's module.
func HasFamily(ctx context.Context, name string) (has bool, err error) {
	c, err := Open(0, unix.NETLINK_GENERIC)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	var b Buffer
	// The header has a command where that of netfilter has the family.
	start := b.Begin(unix.GENL_ID_CTRL, unix.CTRL_CMD_GETFAMILY, unix.NLM_F_ACK)
	b.Text(unix.CTRL_ATTR_FAMILY_NAME, name)
	b.End(start)
	err = c.Do(ctx, b.B, nil)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("find the family %s of generic netlink: %w", name, err)
	}
	return true, nil
}
