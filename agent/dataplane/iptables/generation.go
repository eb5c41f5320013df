// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"context"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
)

func (t *tools) commits() bool { return t.variant == variantNFT }

// generation says, for the nft variant, whether others have changed the ruleset. If not,
// nothing need be read, which takes seconds of CPU time with 10,000 Services. The legacy
// variant has none.
func (t *tools) generation(ctx context.Context) (nft.Generation, error) {
	if !t.commits() {
		return nft.Generation{}, nil
	}
	if t.nft == nil {
		return nft.Generation{}, unix.EPROTONOSUPPORT
	}
	return t.nft.Generation(ctx)
}
