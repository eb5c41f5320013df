// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nattable

import (
	"encoding/binary"
	"net/netip"

	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Keys and values are fields that start at multiples of 4 bytes. A frontend is
// protocol, address and port; a node port has the unspecified address.

func appendProtocol(b []byte, p model.Protocol) []byte { return append(b, byte(p), 0, 0, 0) }

// appendKey appends the key of a frontend.
func appendKey(b []byte, k model.FrontendKey) []byte {
	return appendEndpoint(appendProtocol(b, k.Protocol), netip.AddrPortFrom(k.Address, k.Port))
}

// appendIndex turns the key of a port into the key of one of its endpoints.
func appendIndex(key []byte, n int) []byte {
	return binary.NativeEndian.AppendUint32(key, uint32(n))
}

// appendEndpoint appends the value of an endpoint.
func appendEndpoint(b []byte, e model.Endpoint) []byte {
	addr := e.Addr()
	if addr.Is4() {
		a := addr.As4()
		b = append(b, a[:]...)
	} else {
		a := addr.As16()
		b = append(b, a[:]...)
	}
	return append(binary.BigEndian.AppendUint16(b, e.Port()), 0, 0)
}

// appendAffine appends the key of an endpoint in the sets affinity-endpoints.
func appendAffine(b []byte, home model.FrontendKey, e model.Endpoint) []byte {
	b = appendEndpoint(b, netip.AddrPortFrom(home.Address, home.Port))
	return appendEndpoint(appendProtocol(b, home.Protocol), e)
}

// parseProtocol decodes a protocol at the start of b, and returns the rest.
func parseProtocol(b []byte) (model.Protocol, []byte, bool) {
	if len(b) < 4 || b[1]|b[2]|b[3] != 0 {
		return 0, nil, false
	}
	return model.Protocol(b[0]), b[4:], true
}

// parseKey decodes a key. It returns false for one that appendKey would not make.
func (l family) parseKey(b []byte) (model.FrontendKey, bool) {
	p, rest, ok := parseProtocol(b)
	if !ok {
		return model.FrontendKey{}, false
	}
	e, ok := l.parseEndpoint(rest)
	return model.FrontendKey{Address: e.Addr(), Protocol: p, Port: e.Port()}, ok
}

// parseIndexedKey decodes the key of an endpoint.
func (l family) parseIndexedKey(b []byte) (model.FrontendKey, int, bool) {
	if len(b) < 4 {
		return model.FrontendKey{}, 0, false
	}
	k, ok := l.parseKey(b[:len(b)-4])
	return k, int(binary.NativeEndian.Uint32(b[len(b)-4:])), ok
}

// parseEndpoint decodes the value of an endpoint.
func (l family) parseEndpoint(b []byte) (model.Endpoint, bool) {
	n := l.AddrLen()
	if len(b) != n+4 || b[n+2]|b[n+3] != 0 {
		return model.Endpoint{}, false
	}
	addr, _ := netip.AddrFromSlice(b[:n])
	return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(b[n:])), true
}

// parsePadded decodes an endpoint that comes after the frontend's protocol.
func (l family) parsePadded(b []byte, p model.Protocol) (model.Endpoint, bool) {
	q, rest, ok := parseProtocol(b)
	if !ok || q != p {
		return model.Endpoint{}, false
	}
	return l.parseEndpoint(rest)
}

// parseAffine is the reverse of appendAffine.
func (l family) parseAffine(b []byte) (model.FrontendKey, model.Endpoint, bool) {
	n := l.AddrLen() + 4
	if len(b) != 2*n+4 {
		return model.FrontendKey{}, model.Endpoint{}, false
	}
	home, okHome := l.parseEndpoint(b[:n])
	p, rest, okProtocol := parseProtocol(b[n:])
	e, okEndpoint := l.parseEndpoint(rest)
	return model.FrontendKey{Address: home.Addr(), Protocol: p, Port: home.Port()}, e, okHome && okProtocol && okEndpoint
}

// appendAddr appends the key of one of the sets of addresses. The hairpin set
// holds pairs of twice the same address.
func (l *layout) appendAddr(b []byte, s *nft.Set, a netip.Addr) []byte {
	b = append(b, a.AsSlice()...)
	if s == l.hairpin {
		b = append(b, a.AsSlice()...)
	}
	return b
}

// parseAddr is the reverse of appendAddr; false for any other encoding.
func (l *layout) parseAddr(s *nft.Set, b []byte) (netip.Addr, bool) {
	n := l.AddrLen()
	if len(b) < n {
		return netip.Addr{}, false
	}
	a, _ := netip.AddrFromSlice(b[:n])
	return a, string(l.appendAddr(nil, s, a)) == string(b)
}
