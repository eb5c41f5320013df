// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"fmt"
	"net/netip"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// prefix starts the names of all our chains, and of no others. A name has 28 characters at
// most.
const prefix = "FAIRLEAD-"

// The constant chains.
const (
	chainPrerouting  = prefix + "PREROUTING"
	chainOutput      = prefix + "OUTPUT"
	chainPostrouting = prefix + "POSTROUTING"
	chainOutside     = prefix + "OUTSIDE"
	chainServices    = prefix + "SERVICES"
	chainUnlessPod   = prefix + "MARK-UNLESS-POD"
	chainSources     = prefix + "NODEPORT-SOURCES"
	chainRefuse      = prefix + "REFUSE"
	chainDrop        = prefix + "DROP"
	chainMasquerade  = prefix + "MASQUERADE"
	chainFilter      = prefix + "FILTER"
)

// The first chains of the trees, and the prefixes of the others. An address with many
// ports has its own tree.
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

// view is one of the two backends of a frontend.
type view = model.View

const (
	internal = model.InternalView
	external = model.ExternalView
	views    = model.Views
)

// The bits of the packet mark that carry a decision out of the nat table, which has
// neither REJECT nor DROP. The bit for masquerading is that of kube-proxy and kubelet, the
// one for dropping is that of kubelet.
const (
	markMasquerade = 0x4000
	markDrop       = 0x8000
	markRefuse     = 0x2000
)

// setMark returns a target that sets a bit of the mark.
func setMark(bit int) string { return fmt.Sprintf("-j MARK --set-xmark %#x/%#x", bit, bit) }

// clearMark returns a target that clears it.
func clearMark(bit int) string { return fmt.Sprintf("-j MARK --set-xmark 0x0/%#x", bit) }

// marked returns a match for it.
func marked(bit int) string { return fmt.Sprintf("-m mark --mark %#x/%#x", bit, bit) }

// single returns an address as iptables-save prints it.
func single(a netip.Addr) string { return netip.PrefixFrom(a, a.BitLen()).String() }

// source returns a match for packets from a range; empty for a range of everything.
func source(p netip.Prefix) string {
	if p.Bits() == 0 {
		return ""
	}
	return "-s " + p.Masked().String() + " "
}

// chainFor returns the name of the chain of one of a frontend's views. A kind is one of
// the prefixes, perhaps with more text that distinguishes the chain.
func chainFor(kind string, k model.FrontendKey, v view) string {
	return kind[:len(prefixTo)] + hash(fmt.Append(nil, kind[len(prefixTo):], k, " ", v))
}
