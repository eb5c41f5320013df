// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// parseAddr reads an IP address as kube-proxy does: octets of IPv4 may have
// leading zeros (and are decimal), spaces around are ignored, an IPv4 address
// mapped into IPv6 is IPv4. Old objects hold such addresses; the kernel must
// only ever see the canonical form.
func parseAddr(s string) (netip.Addr, error) {
	s = strings.TrimSpace(s)
	addr, err := netip.ParseAddr(s)
	if head, v4 := cutIPv4(s); err != nil && v4 != "" {
		octets := strings.Split(v4, ".")
		for i, o := range octets {
			octets[i] = trimZeros(o)
		}
		addr, err = netip.ParseAddr(head + strings.Join(octets, "."))
	}
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%q is not an IP address", s)
	}
	if addr.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%q must have no zone", s)
	}
	return addr.Unmap(), nil
}

// trimZeros removes leading zeros, but never the last digit.
func trimZeros(digits string) string {
	if trimmed := strings.TrimLeft(digits, "0"); trimmed != "" || digits == "" {
		return trimmed
	}
	return "0"
}

// cutIPv4 splits the dotted part, if there is one, from what stands before it.
func cutIPv4(s string) (head, v4 string) {
	if !strings.Contains(s, ".") {
		return s, ""
	}
	i := strings.LastIndex(s, ":") + 1
	return s[:i], s[i:]
}

// parsePrefix reads a CIDR as leniently as parseAddr and clears its host bits.
func parsePrefix(s string) (netip.Prefix, error) {
	host, bits, found := strings.Cut(strings.TrimSpace(s), "/")
	if !found {
		return netip.Prefix{}, fmt.Errorf("%q is not a CIDR", s)
	}
	addr, err := parseAddr(host)
	if err != nil {
		return netip.Prefix{}, err
	}
	// The length of a prefix of mapped addresses counts from the front of the
	// IPv6 address: ::ffff:10.0.0.0/8 is not 10.0.0.0/8.
	if addr.Is4() && strings.Contains(host, ":") {
		return netip.Prefix{}, fmt.Errorf("%q must not map IPv4 into IPv6", s)
	}
	p, err := netip.ParsePrefix(addr.String() + "/" + trimZeros(bits))
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is not a CIDR", s)
	}
	return p.Masked(), nil
}

// FamilyOf returns the address family of an address.
func FamilyOf(a netip.Addr) corev1.IPFamily {
	if a.Is4() {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

// checkEndpoint refuses addresses that no endpoint may have. The apiserver
// refuses them too; an agent must not become a way around it (CVE-2021-25737:
// traffic sent to a node's loopback or link-local network).
func checkEndpoint(a netip.Addr) error {
	switch {
	case a.IsUnspecified(), a.IsLoopback(), a.IsMulticast(), a.IsLinkLocalUnicast():
		return fmt.Errorf("%s must not be an unspecified, loopback, link-local or multicast address", a)
	}
	return nil
}

// checkFrontend refuses addresses that no Service may answer on.
func checkFrontend(a netip.Addr) error {
	switch {
	case a.IsUnspecified(), a.IsLoopback(), a.IsMulticast():
		return fmt.Errorf("%s must not be an unspecified, loopback or multicast address", a)
	}
	return nil
}

// sortedStrings returns the addresses or prefixes as text, sorted by value and
// without duplicates; nil if there are none.
func sortedStrings[T interface {
	comparable
	fmt.Stringer
}](values []T, compare func(a, b T) int) []string {
	values = slices.Clone(values)
	slices.SortFunc(values, compare)
	values = slices.Compact(values)
	var out []string
	for _, v := range values {
		out = append(out, v.String())
	}
	return out
}

func comparePrefix(a, b netip.Prefix) int {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c
	}
	return a.Bits() - b.Bits()
}
