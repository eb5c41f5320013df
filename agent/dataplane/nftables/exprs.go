// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"encoding/binary"
	"net/netip"

	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
)

// transportKey loads protocol and destination port.
func (t *table) transportKey(reg int) []nft.Expr {
	return []nft.Expr{nft.Protocol(reg), nft.DestinationPort(reg + 1)}
}

// chainKey loads the key of a frontend, and says which register comes next.
func (t *table) chainKey(at where) (key []nft.Expr, next int) {
	if at == onNodePort {
		return t.transportKey(0), 2
	}
	return t.frontendKey(), t.Words() + 2
}

// frontendKey loads destination address, protocol and destination port.
func (t *table) frontendKey() []nft.Expr {
	return append([]nft.Expr{t.Destination(0)}, t.transportKey(t.Words())...)
}

// setBits makes the bits of masqueradeMark equal to value.
func setBits(value uint32) nft.Expr { return nft.SetBits(masqueradeMark, value) }

// cidrMask returns the bits of an address that a range fixes.
func cidrMask(p netip.Prefix) []byte { return nft.Prefix(p.Addr().BitLen()/8, p.Bits()) }

func native(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }
