// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"fmt"
	"net/netip"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// prefix begins the names of all our chains, and of nobody else's. A name has 28
// characters at most.
const prefix = "FAIRLEAD-"

// The constant chains.
const (
	chainPrerouting  = prefix + "PREROUTING"
	chainOutput      = prefix + "OUTPUT"
	chainPostrouting = prefix + "POSTROUTING"
	chainOutside     = prefix + "OUTSIDE"
	chainServices    = prefix + "SERVICES"
	chainUnlessPod   = prefix + "MARK-UNLESS-POD"
	chainRefuse      = prefix + "REFUSE"
	chainDrop        = prefix + "DROP"
	chainMasquerade  = prefix + "MASQUERADE"
	chainFilter      = prefix + "FILTER"
)

// The first chains of the trees, and how the names of the others begin. An address
// with many ports has a tree of its own.
var (
	rootAddresses = [views]string{prefix + "ADDRESSES", prefix + "ADDRESSES-EXT"}
	rootNodePorts = [views]string{prefix + "NODEPORTS", prefix + "NODEPORTS-EXT"}
)

const (
	rootHairpin   = prefix + "HAIRPIN"
	prefixAddress = prefix + "A-"
	prefixPorts   = prefix + "P-"
	prefixHairpin = prefix + "H-"
	prefixGate    = prefix + "G-"
	prefixTo      = prefix + "E-"
	prefixHead    = prefix + "M-"
)

// view is one of the two ways to see a frontend. See model.Frontend.
type view int

const (
	internal view = iota
	external
	views
)

// The bits of the packet mark that carry a decision out of the nat table, where
// there is neither REJECT nor DROP. Masquerading is asked for by the same bit as by
// kube-proxy and kubelet, and dropping by that of kubelet.
const (
	markMasquerade = 0x4000
	markDrop       = 0x8000
	markRefuse     = 0x2000
)

// setMark returns the text of a target that sets a bit of the mark.
func setMark(bit int) string { return fmt.Sprintf("-j MARK --set-xmark %#x/%#x", bit, bit) }

// clearMark returns the text of a target that clears it.
func clearMark(bit int) string { return fmt.Sprintf("-j MARK --set-xmark 0x0/%#x", bit) }

// marked returns the text of a rule that asks for it.
func marked(bit int) string { return fmt.Sprintf("-m mark --mark %#x/%#x", bit, bit) }

// single returns an address as iptables-save prints it.
func single(a netip.Addr) string { return netip.PrefixFrom(a, a.BitLen()).String() }

// source returns the text of a rule that takes what comes from a range; no text
// takes all.
func source(p netip.Prefix) string {
	if p.Bits() == 0 {
		return ""
	}
	return "-s " + p.Masked().String() + " "
}

// chainFor returns the name of the chain of one of a frontend's views. A kind is one
// of the prefixes, and perhaps more that tells the chain from others.
func chainFor(kind string, k model.FrontendKey, v view) string {
	return kind[:len(prefixTo)] + hash(fmt.Append(nil, kind[len(prefixTo):], k, " ", v))
}
