// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nattable

import (
	"context"
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// read reads everything except the remembered clients: the kernel adds and expires those
// itself.
func (d *dnat) read(ctx context.Context, r *reader) error {
	for v := range views {
		if err := d.readPorts(ctx, r, v); err != nil {
			return err
		}
	}
	for l := range lists {
		for _, step := range []func(context.Context, *reader, list) error{d.readSpread, d.readEndpoints, d.readChoices, d.readAffine} {
			if err := step(ctx, r, l); err != nil {
				return err
			}
		}
	}
	return nil
}

// readPorts reads which ports frontends use.
func (d *dnat) readPorts(ctx context.Context, r *reader, v view) error {
	found := map[model.FrontendKey]port{}
	err := r.each(ctx, d.ports[v], func() { clear(found) }, func(e nft.Element) bool {
		key, ok := d.parseKey(e.Key)
		value := e.Data()
		if !ok || len(value) < 4 {
			return false
		}
		end := len(value) - 4
		home, ok := d.parseKey(value[:end])
		m := binary.NativeEndian.Uint32(value[end:])
		if ok = ok && m < uint32(masquerades) && home.Protocol == key.Protocol; ok {
			found[key] = port{home, masquerade(m)}
		}
		return ok
	})
	for key, p := range found {
		r.frontend(key, func(h *heldFrontend) { h.views[v].port = p })
	}
	return err
}

// readSpread reads the chains of ports.
func (d *dnat) readSpread(ctx context.Context, r *reader, l list) error {
	found := map[model.FrontendKey]verdict{}
	err := r.each(ctx, d.spread[l], func() { clear(found) }, func(e nft.Element) bool {
		key, ok := d.parseKey(e.Key)
		if ok {
			found[key] = parseVerdict(e.Verdict(), r.known)
		}
		return ok
	})
	for key, v := range found {
		r.list(listKey{key, l}, func(h *heldList) { h.spread = v })
	}
	return err
}

func (d *dnat) readEndpoints(ctx context.Context, r *reader, l list) error {
	return d.readNumbered(ctx, r, d.endpoints[l], l,
		func(_ model.FrontendKey, b []byte) (model.Endpoint, bool) { return d.parseEndpoint(b) },
		func(h *heldList, list []model.Endpoint) { h.endpoints = list })
}

func (d *dnat) readChoices(ctx context.Context, r *reader, l list) error {
	return d.readNumbered(ctx, r, d.choices[l], l,
		func(key model.FrontendKey, b []byte) (model.Endpoint, bool) { return d.parsePadded(b, key.Protocol) },
		func(h *heldList, list []model.Endpoint) { h.choices = list })
}

// numbered is an endpoint with its number, as read.
type numbered struct {
	n        int
	endpoint model.Endpoint
}

// readNumbered reads endpoints. They arrive in any order, so they are collected first.
func (d *dnat) readNumbered(ctx context.Context, r *reader, s *nft.Set, l list,
	parse func(model.FrontendKey, []byte) (model.Endpoint, bool), put func(*heldList, []model.Endpoint),
) error {
	found := map[model.FrontendKey][]numbered{}
	err := r.each(ctx, s, func() { clear(found) }, func(e nft.Element) bool {
		key, n, ok := d.parseIndexedKey(e.Key)
		if !ok {
			return false
		}
		endpoint, ok := parse(key, e.Data())
		if ok {
			found[key] = append(found[key], numbered{n, endpoint})
		}
		return ok
	})
	if err != nil {
		return err
	}
	for key, list := range found {
		placed := place(r, s, key, list)
		r.list(listKey{key, l}, func(h *heldList) { put(h, placed) })
	}
	return nil
}

// place puts the endpoints at their numbers. An endpoint with a number far beyond those
// that we assign is junk; otherwise a single element could take all memory.
func place(r *reader, s *nft.Set, key model.FrontendKey, list []numbered) []model.Endpoint {
	slices.SortFunc(list, func(a, b numbered) int { return a.n - b.n })
	out := make([]model.Endpoint, 0, len(list))
	for _, e := range list {
		if e.n >= 2*len(list)+16 {
			r.junk = append(r.junk, junk{set: s, key: appendIndex(appendKey(nil, key), e.n)})
			continue
		}
		for len(out) <= e.n {
			out = append(out, model.Endpoint{})
		}
		out[e.n] = e.endpoint
	}
	return out
}

// readAffine reads which endpoints known clients may be sent to.
func (d *dnat) readAffine(ctx context.Context, r *reader, l list) error {
	found := map[model.FrontendKey][]model.Endpoint{}
	err := r.each(ctx, d.affine[l], func() { clear(found) }, func(e nft.Element) bool {
		home, endpoint, ok := d.parseAffine(e.Key)
		if ok {
			found[home] = append(found[home], endpoint)
		}
		return ok
	})
	for home, list := range found {
		slices.SortFunc(list, netip.AddrPort.Compare)
		r.list(listKey{home, l}, func(h *heldList) { h.affine = list })
	}
	return err
}
