// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// ParseAddr parses an IP address as kube-proxy does: IPv4 octets may have leading zeros
// (and are decimal), surrounding spaces are ignored, and an IPv4-mapped IPv6 address is an
// IPv4 address. Old objects hold such addresses; the kernel must only ever see the
// canonical form.
func ParseAddr(s string) (netip.Addr, error) {
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

// cutIPv4 splits off the dotted part, if there is one.
func cutIPv4(s string) (head, v4 string) {
	if !strings.Contains(s, ".") {
		return s, ""
	}
	i := strings.LastIndex(s, ":") + 1
	return s[:i], s[i:]
}

// ParsePrefix parses a CIDR as leniently as ParseAddr, and clears its host bits.
func ParsePrefix(s string) (netip.Prefix, error) {
	host, bits, found := strings.Cut(strings.TrimSpace(s), "/")
	if !found {
		return netip.Prefix{}, fmt.Errorf("%q is not a CIDR", s)
	}
	addr, err := ParseAddr(host)
	if err != nil {
		return netip.Prefix{}, err
	}
	// The length of an IPv4-mapped prefix counts from the start of the IPv6 address:
	// ::ffff:10.0.0.0/8 is not 10.0.0.0/8.
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

// ValidateEndpointAddress rejects addresses that no endpoint may have. The apiserver
// rejects them too, but an agent must not be a way around it (CVE-2021-25737: traffic to
// the loopback or link-local network of a node).
func ValidateEndpointAddress(a netip.Addr) error {
	switch {
	case a.IsUnspecified(), a.IsLoopback(), a.IsMulticast(), a.IsLinkLocalUnicast():
		return fmt.Errorf("%s must not be an unspecified, loopback, link-local or multicast address", a)
	}
	return nil
}

// ValidateFrontendAddress rejects addresses that no Service may answer on.
func ValidateFrontendAddress(a netip.Addr) error {
	switch {
	case a.IsUnspecified(), a.IsLoopback(), a.IsMulticast():
		return fmt.Errorf("%s must not be an unspecified, loopback or multicast address", a)
	}
	return nil
}

// ComparePrefix orders prefixes by address, a range before those that lie in it.
func ComparePrefix(a, b netip.Prefix) int {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c
	}
	return a.Bits() - b.Bits()
}

// ValidPort says whether a number is a port that packets can be sent to.
func ValidPort(p int32) bool { return p >= 1 && p <= 65535 }
