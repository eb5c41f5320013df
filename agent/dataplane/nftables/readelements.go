// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"bytes"
	"context"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// elementReader reads the content of the sets into a snapshot.
type elementReader struct {
	*snapshot
	table *table
	conn  nft.Reader
	known map[string]serviceChain
}

// each streams the elements of a set. take returns false for an element that is
// not in our form; that is remembered as junk.
func (r *elementReader) each(ctx context.Context, s *nft.Set, restart func(), take func(nft.Element) bool) error {
	before := len(r.junk)
	return nft.ReadElements(ctx, r.conn, s,
		func() { r.junk = r.junk[:before]; restart() },
		func(e nft.Element) {
			if e.CatchAll || !take(e) {
				r.junk = append(r.junk, junk{s, bytes.Clone(e.Key), e.CatchAll})
			}
		})
}

// readVerdicts reads which chain takes a frontend's packets.
func (r *elementReader) readVerdicts(ctx context.Context, at where, v view) error {
	return r.each(ctx, r.table.verdicts[at][v],
		func() {
			for key, h := range r.frontends {
				if whereOf(key) == at && h.views[v].target.kind != absent {
					h.views[v].target = target{}
					r.frontends[key] = h
				}
			}
		},
		func(e nft.Element) bool {
			key, ok := r.table.parseKey(e.Key, at)
			if !ok {
				return false
			}
			h := r.frontends[key]
			h.views[v].target = parseTarget(e.Verdict(), r.known, at, v)
			r.frontends[key] = h
			return true
		})
}

// numbered is an endpoint with its number, as read.
type numbered struct {
	n        int
	endpoint model.Endpoint
}

// readAllEndpoints reads the endpoints of all frontends.
func (r *elementReader) readAllEndpoints(ctx context.Context) error {
	for at := range wheres {
		for v := range views {
			if err := r.readEndpoints(ctx, at, v); err != nil {
				return err
			}
			if err := r.readChoices(ctx, at, v); err != nil {
				return err
			}
		}
	}
	return nil
}

// readEndpoints reads the endpoints of a view. They come in no order, so
// they are collected first.
func (r *elementReader) readEndpoints(ctx context.Context, at where, v view) error {
	return r.readNumbered(ctx, r.table.endpoints[at][v], at,
		func(_ model.FrontendKey, b []byte) (model.Endpoint, bool) { return r.table.parseEndpoint(b) },
		func(h *held, list []model.Endpoint) { h.views[v].endpoints = list })
}

// readChoices reads those among which new clients are spread that are remembered.
func (r *elementReader) readChoices(ctx context.Context, at where, v view) error {
	return r.readNumbered(ctx, r.table.choices[at][v], at,
		func(key model.FrontendKey, b []byte) (model.Endpoint, bool) {
			return r.table.parsePadded(b, key.Protocol)
		},
		func(h *held, list []model.Endpoint) { h.views[v].choices = list })
}

func (r *elementReader) readNumbered(ctx context.Context, s *nft.Set, at where,
	parse func(model.FrontendKey, []byte) (model.Endpoint, bool), put func(*held, []model.Endpoint),
) error {
	found := map[model.FrontendKey][]numbered{}
	err := r.each(ctx, s,
		func() { clear(found) },
		func(e nft.Element) bool {
			key, n, ok := r.table.parseIndexedKey(e.Key, at)
			if !ok {
				return false
			}
			endpoint, ok := parse(key, e.Data())
			if !ok {
				return false
			}
			found[key] = append(found[key], numbered{n, endpoint})
			return true
		})
	if err != nil {
		return err
	}
	for key, list := range found {
		h := r.frontends[key]
		put(&h, r.place(s, key, list))
		r.frontends[key] = h
	}
	return nil
}

// place puts the endpoints at their numbers. One whose number is far beyond what
// we would give is junk, else a single element could take all memory.
func (r *elementReader) place(s *nft.Set, key model.FrontendKey, list []numbered) []model.Endpoint {
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

// readAddrs reads a set of addresses.
func (r *elementReader) readAddrs(ctx context.Context, s *nft.Set) error {
	return r.each(ctx, s,
		func() { r.addrs[s] = map[netip.Addr]struct{}{} },
		func(e nft.Element) bool {
			a, ok := r.table.parseAddr(s, e.Key)
			if ok {
				r.addrs[s][a] = struct{}{}
			}
			return ok
		})
}

// parseServiceChain is the reverse of serviceChain.name.
func parseServiceChain(name string) (serviceChain, bool) {
	var c serviceChain
	rest, text, found := strings.Cut(name, "-affinity-")
	if found {
		timeout, err := strconv.ParseInt(text, 10, 32)
		if err != nil || timeout <= 0 {
			return c, false
		}
		c.timeout = int32(timeout)
	}
	rest, n, _ := cutLast(rest, "-")
	switch number, err := strconv.ParseUint(n, 10, 32); {
	case n == suffixIPVS:
	case n == suffixMark:
		c.marked = true
	case err != nil || number == 0:
		return c, false
	default:
		c.n = uint32(number)
	}
	if after, ok := strings.CutPrefix(rest, "outside-"); ok {
		rest, c.view = after, external
	}
	if after, ok := strings.CutPrefix(rest, "nodeport-"); ok {
		rest, c.at = after, onNodePort
	}
	for masquerade, kind := range chainKinds {
		if kind == rest {
			c.masquerade = masquerade
			return c, c.name() == name
		}
	}
	return c, false
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
