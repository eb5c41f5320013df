// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// A frontend with source ranges is in the set restricted, and each of its ranges
// is an element of a set:
//
//	sources-<length>  { address . protocol . port . network }
//
// There is one such set for each length of a range that occurs, and the chain
// below looks a packet up in each, with its source address cut to the length. A
// set of intervals would do it in one lookup, but the kernel copies such a set as
// a whole for each transaction that changes it, and it refuses ranges that
// overlap. Here a range costs one element, whatever else there is.

const sourcesPrefix = "sources-"

// restrict sends packets for a restricted frontend through the check of sources.
func (t *table) restrict() nft.Rule {
	return t.NewRule("", append(t.frontendKey(), nft.In(t.restricted, 0), nft.Jump(chainSources))...)
}

// sourcesChain comes back for a packet from an allowed source. A packet may see
// the rules of a moment ago and the newest elements; then it is dropped, and its
// sender repeats it.
func (t *table) sourcesChain(lengths []int) *nft.Chain {
	var out []nft.Rule
	for _, length := range lengths {
		reg := t.Words() + 2
		key := append(t.frontendKey(), t.Source(reg))
		if length < 8*t.AddrLen() {
			key = append(key, nft.Mask(reg, nft.Prefix(t.AddrLen(), length)))
		}
		out = append(out, t.NewRule("", append(key, nft.In(t.sourceSet(length), 0), nft.Return())...))
	}
	return t.NewChain(chainSources, nil, append(out, t.NewRule("", nft.Drop()))...)
}

// sourceSet returns the set of the source ranges of a length.
func (t *table) sourceSet(length int) *nft.Set {
	if t.sources[length] == nil {
		t.sources[length] = t.NewSet(nft.SetSpec{Name: sourcesPrefix + strconv.Itoa(length),
			Key: append(t.keyFields(true, false), t.SourceField())})
	}
	return t.sources[length]
}

// parseSourceSet returns the length in the name of a set of source ranges.
func (t *table) parseSourceSet(name string) (int, bool) {
	text, ok := strings.CutPrefix(name, sourcesPrefix)
	length, err := strconv.Atoi(text)
	return length, ok && err == nil && 0 <= length && length <= 8*t.AddrLen() && strconv.Itoa(length) == text
}

// planSources makes the sets and the rules fit the lengths that occur.
func (t *table) planSources(b *nft.Batch, have, want []int) {
	for _, length := range want {
		if !slices.Contains(have, length) {
			b.AddSet(t.sourceSet(length))
		}
	}
	for _, length := range have {
		if !slices.Contains(want, length) {
			b.DeleteSet(t.sourceSet(length))
		}
	}
}

// updateSources changes what the kernel holds of a frontend's sources into what f
// says (nil: nothing).
func (t *table) updateSources(b *nft.Batch, element []byte, old held, f *model.Frontend) (restricted bool, sources []netip.Prefix) {
	if f != nil && f.Restricted {
		restricted, sources = true, f.Sources
	}
	if old.restricted && !restricted {
		b.Delete(t.restricted).Key(element)
	} else if !old.restricted && restricted {
		b.Add(t.restricted).Key(element)
	}
	if slices.Equal(old.sources, sources) {
		return restricted, sources
	}
	sources = slices.Clone(sources)
	slices.SortFunc(sources, netip.Prefix.Compare)
	sources = slices.Compact(sources)
	for _, p := range old.sources {
		if _, found := slices.BinarySearchFunc(sources, p, netip.Prefix.Compare); !found {
			b.Delete(t.sourceSet(p.Bits())).Key(appendSource(element, p))
		}
	}
	for _, p := range sources {
		if _, found := slices.BinarySearchFunc(old.sources, p, netip.Prefix.Compare); !found {
			b.Add(t.sourceSet(p.Bits())).Key(appendSource(element, p))
		}
	}
	return restricted, sources
}

// checkSources guards what would otherwise end in an element that matches nothing.
func (t *table) checkSources(f *model.Frontend) error {
	if f.Restricted && f.Key.IsNodePort() {
		return fmt.Errorf("%s of %s: a node port has no source ranges", f.Key, f.Service)
	}
	for _, p := range f.Sources {
		if !p.IsValid() || p != p.Masked() || !t.ours(p.Addr()) {
			return fmt.Errorf("%s of %s: source range %s is malformed or of another family", f.Key, f.Service, p)
		}
	}
	return nil
}

// lengths returns the lengths of source ranges that occur, in their order.
func (c *contents) lengths() []int { return slices.Sorted(maps.Keys(c.ranges)) }

// appendSource makes the key of a frontend that of one of its source ranges.
func appendSource(key []byte, p netip.Prefix) []byte {
	return append(key, p.Addr().AsSlice()...)
}

// parseSource is the reverse of appendSource, for the ranges of a length.
func (t *table) parseSource(b []byte, length int) (model.FrontendKey, netip.Prefix, bool) {
	n := len(b) - t.AddrLen()
	if n < 0 {
		return model.FrontendKey{}, netip.Prefix{}, false
	}
	k, ok := t.parseKey(b[:n], onAddress)
	addr, _ := netip.AddrFromSlice(b[n:])
	p := netip.PrefixFrom(addr, length)
	return k, p, ok && p == p.Masked()
}

// source is an allowed source of a frontend, as read.
type source struct {
	key    model.FrontendKey
	prefix netip.Prefix
}

// readSources reads which frontends are restricted, and to which sources.
func (r *elementReader) readSources(ctx context.Context) error {
	restricted := map[model.FrontendKey]struct{}{}
	err := r.each(ctx, r.table.restricted, func() { clear(restricted) }, func(element nft.Element) bool {
		key, ok := r.table.parseKey(element.Key, onAddress)
		if ok {
			restricted[key] = struct{}{}
		}
		return ok
	})
	if err != nil {
		return err
	}
	for key := range restricted {
		h := r.frontends[key]
		h.restricted = true
		r.frontends[key] = h
	}
	for _, length := range r.lengths {
		var found []source
		err := r.each(ctx, r.table.sourceSet(length), func() { found = nil }, func(element nft.Element) bool {
			key, p, ok := r.table.parseSource(element.Key, length)
			if ok {
				found = append(found, source{key, p})
			}
			return ok
		})
		if err != nil {
			return err
		}
		for _, f := range found {
			h := r.frontends[f.key]
			h.sources = append(h.sources, f.prefix)
			r.frontends[f.key] = h
		}
	}
	for key, h := range r.frontends {
		if len(h.sources) > 1 {
			slices.SortFunc(h.sources, netip.Prefix.Compare)
			r.frontends[key] = h
		}
	}
	return nil
}
