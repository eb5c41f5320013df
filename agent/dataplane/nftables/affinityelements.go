// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// protocolLen is how long a protocol is in a key or a value.
const protocolLen = 4

func appendProtocol(b []byte, p model.Protocol) []byte { return append(b, byte(p), 0, 0, 0) }

func appendPort(b []byte, port uint16) []byte {
	return append(binary.BigEndian.AppendUint16(b, port), 0, 0)
}

// appendPortKey appends the key of a frontend in the maps affinity-ports.
func appendPortKey(b []byte, k model.FrontendKey) []byte {
	if k.IsNodePort() {
		return appendProtocol(appendPort(b, k.Port), k.Protocol)
	}
	return appendPort(append(appendProtocol(b, k.Protocol), k.Address.AsSlice()...), k.Port)
}

// appendAffine appends the key of an endpoint in the maps affinity-endpoints.
func appendAffine(b []byte, k model.FrontendKey, e model.Endpoint) []byte {
	if !k.IsNodePort() {
		b = append(b, k.Address.AsSlice()...)
	}
	return appendEndpoint(appendProtocol(appendPort(b, k.Port), k.Protocol), e)
}

// parsePortKey is the reverse of appendPortKey.
func (t *table) parsePortKey(b []byte, at where) (model.FrontendKey, bool) {
	n := len(b) - protocolLen
	if n < protocolLen {
		return model.FrontendKey{}, false
	}
	// The same as an ordinary key, but for the place of the protocol.
	if at == onNodePort {
		return t.parseKey(slices.Concat(b[n:], b[:n]), at)
	}
	return t.parseKey(slices.Concat(b[protocolLen:n], b[:protocolLen], b[n:]), at)
}

// parseAffine is the reverse of appendAffine.
func (t *table) parseAffine(b []byte, at where) (model.FrontendKey, model.Endpoint, bool) {
	n := len(b) - t.AddrLen() - 4 // where the endpoint begins
	if n < 2*protocolLen {
		return model.FrontendKey{}, model.Endpoint{}, false
	}
	e, ok := t.parseEndpoint(b[n:])
	if !ok {
		return model.FrontendKey{}, e, false
	}
	// The same as an ordinary key, but for the order of port and protocol.
	k, ok := t.parseKey(slices.Concat(b[:n-8], b[n-4:n], b[n-8:n-4]), at)
	return k, e, ok
}

// parsePadded decodes an endpoint that comes after the frontend's protocol.
func (t *table) parsePadded(b []byte, p model.Protocol) (model.Endpoint, bool) {
	if len(b) < protocolLen || string(b[:protocolLen]) != string(appendProtocol(nil, p)) {
		return model.Endpoint{}, false
	}
	return t.parseEndpoint(b[protocolLen:])
}

// readAffinity reads everything about affinity but the clients themselves: those
// the kernel adds and lets time out, and nobody else knows them.
func (r *elementReader) readAffinity(ctx context.Context) error {
	for at := range wheres {
		found := map[model.FrontendKey]model.Endpoint{}
		err := r.each(ctx, r.table.affinityPorts[at], func() { clear(found) }, func(element nft.Element) bool {
			key, ok := r.table.parsePortKey(element.Key, at)
			if ok {
				found[key], ok = r.table.parsePadded(element.Data(), key.Protocol)
			}
			return ok
		})
		if err != nil {
			return err
		}
		for key, affinity := range found {
			h := r.frontends[key]
			h.affinity = affinity
			r.frontends[key] = h
		}
		for v := range views {
			if err := r.readAffine(ctx, at, v); err != nil {
				return err
			}
		}
	}
	return nil
}

// readAffine reads which endpoints known clients may be led to.
func (r *elementReader) readAffine(ctx context.Context, at where, v view) error {
	found := map[model.FrontendKey][]model.Endpoint{}
	err := r.each(ctx, r.table.affine[at][v], func() { clear(found) }, func(element nft.Element) bool {
		key, e, ok := r.table.parseAffine(element.Key, at)
		value, valid := r.table.parseEndpoint(element.Data())
		if ok = ok && valid && value == e; ok {
			found[key] = append(found[key], e)
		}
		return ok
	})
	if err != nil {
		return err
	}
	for key, list := range found {
		slices.SortFunc(list, netip.AddrPort.Compare)
		h := r.frontends[key]
		h.views[v].affine = list
		r.frontends[key] = h
	}
	return nil
}
