// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"encoding/binary"
	"net/netip"

	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// appendKey appends the key of a frontend in the maps of verdicts. Every field
// starts at a multiple of 4 bytes.
func appendKey(b []byte, k model.FrontendKey) []byte {
	if !k.IsNodePort() {
		b = append(b, k.Address.AsSlice()...)
	}
	b = append(b, byte(k.Protocol), 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, k.Port)
	return append(b, 0, 0)
}

// appendIndex makes it the key of an endpoint.
func appendIndex(key []byte, n int) []byte {
	return binary.NativeEndian.AppendUint32(key, uint32(n))
}

// appendEndpoint appends the value of an endpoint.
func appendEndpoint(b []byte, e model.Endpoint) []byte {
	b = append(b, e.Addr().AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, e.Port())
	return append(b, 0, 0)
}

// parseKey decodes a key. It is false for one that appendKey does not make.
func (t *table) parseKey(b []byte, at where) (model.FrontendKey, bool) {
	k := model.FrontendKey{Address: netip.IPv4Unspecified()}
	if t.V6() {
		k.Address = netip.IPv6Unspecified()
	}
	n := 0
	if at == onAddress {
		n = t.AddrLen()
		if len(b) < n {
			return k, false
		}
		k.Address, _ = netip.AddrFromSlice(b[:n])
		if k.Address.IsUnspecified() {
			return k, false
		}
	}
	b = b[n:]
	if len(b) != 8 || b[1]|b[2]|b[3]|b[6]|b[7] != 0 {
		return k, false
	}
	k.Protocol, k.Port = model.Protocol(b[0]), binary.BigEndian.Uint16(b[4:])
	return k, true
}

// parseIndexedKey decodes the key of an endpoint.
func (t *table) parseIndexedKey(b []byte, at where) (model.FrontendKey, int, bool) {
	if len(b) < 4 {
		return model.FrontendKey{}, 0, false
	}
	k, ok := t.parseKey(b[:len(b)-4], at)
	return k, int(binary.NativeEndian.Uint32(b[len(b)-4:])), ok
}

// parseEndpoint decodes the value of an endpoint.
func (t *table) parseEndpoint(b []byte) (model.Endpoint, bool) {
	n := t.AddrLen()
	if len(b) != n+4 || b[n+2]|b[n+3] != 0 {
		return model.Endpoint{}, false
	}
	addr, _ := netip.AddrFromSlice(b[:n])
	return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(b[n:])), true
}

// appendAddr appends the key of one of the sets of addresses. The hairpin set
// holds pairs of twice the same address.
func (t *table) appendAddr(b []byte, s *nft.Set, a netip.Addr) []byte {
	b = append(b, a.AsSlice()...)
	if s == t.hairpin {
		b = append(b, a.AsSlice()...)
	}
	return b
}

// parseAddr is the reverse of appendAddr, false for what that does not make.
func (t *table) parseAddr(s *nft.Set, b []byte) (netip.Addr, bool) {
	n := t.AddrLen()
	if len(b) < n {
		return netip.Addr{}, false
	}
	a, _ := netip.AddrFromSlice(b[:n])
	return a, string(t.appendAddr(nil, s, a)) == string(b)
}

// ours says whether an address is of the table's family.
func (t *table) ours(a netip.Addr) bool { return a.Is4() != t.V6() && !a.Is4In6() }
