// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"fmt"
	"net/netip"
	"strconv"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Chains can be nested 16 deep in the nft variant, jumps and gotos alike
// (NFT_JUMP_STACK_SIZE): those of a tree of addresses, of a tree of ports below one of its
// leaves, and six around them, with one to spare.
const (
	maxAddressDepth = 5
	maxPortDepth    = 4
)

// addressDigits are groups of four bits of an address, the low ones first: these differ
// most in the addresses of Services and Pods. A rule can match them with a mask with
// holes.
type addressDigits struct {
	v6   bool
	flag string // -s or -d
}

func (d addressDigits) count() int { return 2 * d.bytes() }

func (d addressDigits) bytes() int {
	if d.v6 {
		return 16
	}
	return 4
}

func (addressDigits) maxDepth() int { return maxAddressDepth }

func (addressDigits) leafSize() int { return 8 }

func (addressDigits) compare(a, b netip.Addr) int { return a.Compare(b) }

func (d addressDigits) digit(a netip.Addr, i int) byte {
	all := a.As16()
	return all[15-i/2] >> (4 * (i % 2)) & 15
}

func (d addressDigits) match(a netip.Addr, i int) string {
	value, mask := make([]byte, d.bytes()), make([]byte, d.bytes())
	at, shift := d.bytes()-1-i/2, 4*(i%2)
	value[at], mask[at] = d.digit(a, i)<<shift, 15<<shift
	v, _ := netip.AddrFromSlice(value)
	m, _ := netip.AddrFromSlice(mask)
	if i == d.count()-1 { // no holes
		return fmt.Sprintf("%s %s/4", d.flag, v)
	}
	return fmt.Sprintf("%s %s/%s", d.flag, v, m)
}

// portKey is a protocol and a port.
type portKey struct {
	protocol model.Protocol
	port     uint16
}

func (k portKey) match() string { return k.matchRange(k.port, k.port) }

// matchRange returns a match for the ports of a range.
func (k portKey) matchRange(low, high uint16) string {
	ports := strconv.Itoa(int(low))
	if low != high {
		ports += ":" + strconv.Itoa(int(high))
	}
	return fmt.Sprintf("-p %s -m %s --dport %s", k.protocol, k.protocol, ports)
}

// portDigits are groups of four bits of a port, the high ones first, because a rule can
// match only ranges of ports. The first digit includes the protocol.
type portDigits struct{}

func (portDigits) maxDepth() int { return maxPortDepth }

// leafSize is the number of values of a digit: fewer would lead to a chain for each port
// where a Service has one after the other.
func (portDigits) leafSize() int { return 16 }

func (portDigits) compare(a, b portKey) int {
	if a.protocol != b.protocol {
		return int(a.protocol) - int(b.protocol)
	}
	return int(a.port) - int(b.port)
}

func (portDigits) digit(k portKey, i int) byte {
	d := byte(k.port>>(12-4*i)) & 15
	if i > 0 {
		return d
	}
	switch k.protocol {
	case model.UDP:
		return 16 + d
	case model.SCTP:
		return 32 + d
	}
	return d
}

func (portDigits) match(k portKey, i int) string {
	rest := uint16(1)<<(12-4*i) - 1
	return k.matchRange(k.port&^rest, k.port|rest)
}
