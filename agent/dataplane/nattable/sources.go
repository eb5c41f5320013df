// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nattable

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// A frontend with source ranges is in the set restricted. The ranges of node ports are in a
// chain, see nodePortSources. Each range of another frontend is an element of a set:
//
//	sources-<length>  { protocol . address . port . network }
//
// There is one such set for each length in use, and the chain below looks up a packet in
// each, with its source address masked to the length. An interval set would need only one
// lookup, but the kernel copies such a set as a whole for each transaction that changes
// it, and it rejects overlapping ranges. Here a range costs one element, however many
// there are.

const sourcesPrefix = "sources-"

// restrict sends packets to a restricted frontend through the check of sources.
func (l *layout) restrict() nft.Rule {
	return l.rule("", l.key(onAddress, 0), one(nft.In(l.restricted, 0), nft.Jump(chainSources)))
}

// sourcesChain returns for a packet from an allowed source. A packet may see old rules and
// the newest elements; then it is dropped, and its sender repeats it.
func (l *layout) sourcesChain(lengths []int) *nft.Chain {
	var out []nft.Rule
	for _, length := range lengths {
		reg := l.keyWords()
		key := append(l.key(onAddress, 0), l.Source(reg))
		if length < 8*l.AddrLen() {
			key = append(key, nft.Mask(reg, nft.Prefix(l.AddrLen(), length)))
		}
		out = append(out, l.NewRule("", append(key, nft.In(l.sourceSet(length), 0), nft.Return())...))
	}
	return l.NewChain(chainSources, nil, append(out, l.NewRule("", nft.Drop()))...)
}

// nodePortSources returns for a packet to an address of node ports, unless it is to a
// restricted node port and from a source that is not allowed. The few ranges are rules and
// not elements, because they are the same for all node ports. The rules are evaluated after the lookups
// of frontends on addresses: those come before node ports.
func (l *layout) nodePortSources(s *model.NodeSettings) *nft.Chain {
	if !s.NodePortsRestricted {
		return l.NewChain(chainNodePorts, nil)
	}
	var out []nft.Rule
	for _, p := range s.NodePortSources {
		if p.Addr().Is6() == l.V6() {
			out = append(out, l.NewRule("", l.Source(0), nft.Mask(0, cidrMask(p)), nft.Equals(p.Addr().AsSlice()), nft.Return()))
		}
	}
	return l.NewChain(chainNodePorts, nil, append(out,
		l.NewRule("a process of the node", nft.SourceType(), nft.Equals(native(unix.RTN_LOCAL)), nft.Return()),
		l.rule("", l.key(onNodePort, 0), one(nft.In(l.restricted, 0), nft.Drop())))...)
}

// sourceSet returns the set of the source ranges of a length.
func (l *layout) sourceSet(length int) *nft.Set {
	if l.sources[length] == nil {
		l.sources[length] = l.NewSet(nft.SetSpec{Name: sourcesPrefix + strconv.Itoa(length),
			Key: append(l.keyFields(), l.SourceField())})
	}
	return l.sources[length]
}

// parseSourceSet returns the length in the name of a set of source ranges.
func (l family) parseSourceSet(name string) (int, bool) {
	text, ok := strings.CutPrefix(name, sourcesPrefix)
	length, err := strconv.Atoi(text)
	return length, ok && err == nil && 0 <= length && length <= 8*l.AddrLen() && strconv.Itoa(length) == text
}

// addLengths adds sets for new lengths of source ranges, and returns the lengths that are
// in use before or after the change: check-sources has to look up all of them.
func (p *planner) addLengths(first *parts, have []int, frontends changed) []int {
	used := maps.Clone(p.contents.ranges)
	for _, f := range frontends.all {
		if f != nil && f.Restricted {
			for _, source := range f.Sources {
				used[source.Bits()]++
			}
		}
	}
	lengths := slices.Sorted(maps.Keys(used))
	for _, length := range lengths {
		if !slices.Contains(have, length) {
			first.AddSet(p.sourceSet(length))
		}
	}
	return lengths
}

// deleteLengths deletes the sets for lengths that are no longer in use, and returns those
// that are.
func (p *planner) deleteLengths(have []int) []int {
	now := p.contents.lengths()
	for _, length := range slices.Compact(slices.Sorted(slices.Values(have))) {
		if !slices.Contains(now, length) {
			p.batch.DeleteSet(p.sourceSet(length))
		}
	}
	return now
}

// updateSources changes the content for a frontend's sources to those of f (nil: none).
func (p *planner) updateSources(element []byte, old heldFrontend, f *model.Frontend) (restricted bool, sources []netip.Prefix) {
	if f != nil && f.Restricted {
		restricted, sources = true, f.Sources
	}
	if old.restricted && !restricted {
		p.batch.Delete(p.restricted).Key(element)
	} else if !old.restricted && restricted {
		p.batch.Add(p.restricted).Key(element)
	}
	if slices.Equal(old.sources, sources) {
		return restricted, sources
	}
	sources = slices.Clone(sources)
	slices.SortFunc(sources, netip.Prefix.Compare)
	sources = slices.Compact(sources)
	for _, source := range old.sources {
		if _, found := slices.BinarySearchFunc(sources, source, netip.Prefix.Compare); !found {
			p.batch.Delete(p.sourceSet(source.Bits())).Key(appendSource(element, source))
		}
	}
	for _, source := range sources {
		if _, found := slices.BinarySearchFunc(old.sources, source, netip.Prefix.Compare); !found {
			p.batch.Add(p.sourceSet(source.Bits())).Key(appendSource(element, source))
		}
	}
	return restricted, sources
}

// appendSource turns the key of a frontend into the key of one of its source ranges.
func appendSource(key []byte, p netip.Prefix) []byte {
	return append(key, p.Addr().AsSlice()...)
}

// parseSource is the reverse of appendSource, for ranges of a length.
func (l family) parseSource(b []byte, length int) (model.FrontendKey, netip.Prefix, bool) {
	n := len(b) - l.AddrLen()
	if n < 0 {
		return model.FrontendKey{}, netip.Prefix{}, false
	}
	k, ok := l.parseKey(b[:n])
	addr, _ := netip.AddrFromSlice(b[n:])
	p := netip.PrefixFrom(addr, length)
	return k, p, ok && !k.IsNodePort() && p == p.Masked()
}

// source is an allowed source of a frontend, as read.
type source struct {
	key    model.FrontendKey
	prefix netip.Prefix
}

// readSources reads which frontends are restricted, and to which sources.
func (r *reader) readSources(ctx context.Context) error {
	restricted := map[model.FrontendKey]struct{}{}
	err := r.each(ctx, r.restricted, func() { clear(restricted) }, func(element nft.Element) bool {
		key, ok := r.parseKey(element.Key)
		if ok {
			restricted[key] = struct{}{}
		}
		return ok
	})
	if err != nil {
		return err
	}
	for key := range restricted {
		r.frontend(key, func(h *heldFrontend) { h.restricted = true })
	}
	for _, length := range r.lengths {
		var found []source
		err := r.each(ctx, r.sourceSet(length), func() { found = nil }, func(element nft.Element) bool {
			key, p, ok := r.parseSource(element.Key, length)
			if ok {
				found = append(found, source{key, p})
			}
			return ok
		})
		if err != nil {
			return err
		}
		for _, f := range found {
			r.frontend(f.key, func(h *heldFrontend) { h.sources = append(h.sources, f.prefix) })
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
