// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"net/netip"
	"regexp"
)

// twinPrefix holds the IPv6 twins of all IPv4 addresses: that of 10.0.0.1 is
// fd64::10.0.0.1, which is another way to write fd64::a00:1.
var twinPrefix = netip.MustParsePrefix("fd64::/96")

// ipv4 finds an address in a text, with the length of a prefix or with a port.
var ipv4 = regexp.MustCompile(`\b(\d+\.\d+\.\d+\.\d+)(/\d+|:\d+)?`)

// twinCases returns the tree of a file in which all cases that have a twin are
// replaced by it.
func twinCases(tree any) any {
	file, _ := tree.(map[string]any)
	list, _ := file["cases"].([]any)
	out := make([]any, len(list))
	for i, c := range list {
		if fields, _ := c.(map[string]any); fields["v4only"] == nil {
			out[i] = twin(c)
		}
	}
	return map[string]any{"cases": out}
}

// twin returns a tree of YAML with all IPv4 addresses replaced by their twins.
func twin(tree any) any {
	switch t := tree.(type) {
	case map[string]any:
		out := make(map[string]any, len(t))
		for key, value := range t {
			out[key] = twin(value)
		}
		return out
	case []any:
		out := make([]any, len(t))
		for i, value := range t {
			out[i] = twin(value)
		}
		return out
	case string:
		if t == "IPv4" {
			return "IPv6"
		}
		return ipv4.ReplaceAllStringFunc(t, twinText)
	}
	return tree
}

func twinText(text string) string {
	if ap, err := netip.ParseAddrPort(text); err == nil {
		return netip.AddrPortFrom(Twin(ap.Addr()), ap.Port()).String()
	}
	if p, err := netip.ParsePrefix(text); err == nil {
		return TwinPrefix(p).String()
	}
	if a, err := netip.ParseAddr(text); err == nil {
		return Twin(a).String()
	}
	return text // a case of odd addresses
}

// Twin returns the IPv6 address that stands for an IPv4 address in twins.
func Twin(a netip.Addr) netip.Addr {
	switch a {
	case netip.MustParseAddr("127.0.0.1"):
		return netip.IPv6Loopback()
	case netip.IPv4Unspecified():
		return netip.IPv6Unspecified()
	}
	twin, four := twinPrefix.Addr().As16(), a.As4()
	copy(twin[12:], four[:])
	return netip.AddrFrom16(twin)
}

// Original returns the IPv4 address that an address stands for, or is.
func Original(a netip.Addr) netip.Addr {
	switch {
	case a == netip.IPv6Loopback():
		return netip.MustParseAddr("127.0.0.1")
	case twinPrefix.Contains(a):
		sixteen := a.As16()
		return netip.AddrFrom4([4]byte(sixteen[12:]))
	}
	return a
}

// TwinPrefix returns the range of the twins of a range's addresses.
func TwinPrefix(p netip.Prefix) netip.Prefix {
	if p.Bits() == 0 {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.PrefixFrom(Twin(p.Addr()), twinPrefix.Bits()+p.Bits())
}
