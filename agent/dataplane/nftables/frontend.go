// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// held is what the kernel holds of a frontend.
type held struct {
	views [views]heldView

	// affinity is the address and port under which clients are remembered.
	affinity model.Endpoint

	// mark is the firewall mark of packets from outside; 0: they get none.
	mark uint32

	restricted bool
	sources    []netip.Prefix // sorted
}

// heldView is a verdict, and the endpoints at their numbers. An invalid endpoint
// is a gap, which somebody else has made.
type heldView struct {
	target    target
	endpoints []model.Endpoint

	// choices and affine are the endpoints for affinity, the former numbered, the
	// latter sorted.
	choices, affine []model.Endpoint
}

// target is what a map of verdicts says about a frontend. The zero target is no
// element at all.
type target struct {
	kind  targetKind
	chain serviceChain // of a forward
}

// targetKind is the kind of a verdict.
type targetKind uint8

const (
	absent targetKind = iota
	forward
	refuse
	drop
	foreign // not one of ours
)

// verdict returns what the element holds.
func (t target) verdict() nft.Verdict {
	switch t.kind {
	case forward:
		return nft.VerdictGoto(t.chain.name())
	case refuse:
		return nft.VerdictGoto(chainRefuse)
	}
	return nft.VerdictDrop()
}

// parseTarget is the reverse of verdict, for the elements of a view.
func parseTarget(v nft.Verdict, known map[string]serviceChain, at where, view view) target {
	c, ok := known[v.Chain]
	switch {
	case v == nft.VerdictDrop():
		return target{kind: drop}
	case v == nft.VerdictGoto(chainRefuse):
		return target{kind: refuse}
	case ok && v == nft.VerdictGoto(v.Chain) && c.at == at && c.view == view:
		return target{forward, c}
	}
	return target{kind: foreign}
}

// whereOf says which maps a frontend is in.
func whereOf(k model.FrontendKey) where {
	if k.IsNodePort() {
		return onNodePort
	}
	return onAddress
}

// wantedTargets returns what the maps shall say about a frontend; nil: nothing.
// The external view is only there where it differs.
func (t *table) wantedTargets(f *model.Frontend) [views]target {
	if f == nil {
		return [views]target{}
	}
	out := [views]target{internal: t.targetOf(f, internal, f.Internal)}
	if !f.External.Equal(f.Internal) {
		out[external] = t.targetOf(f, external, f.External)
	}
	return out
}

// targetOf returns the element of one view. An unknown verdict refuses.
func (t *table) targetOf(f *model.Frontend, v view, b model.Backend) target {
	switch b.Verdict {
	case model.Forward:
		c := serviceChain{at: whereOf(f.Key), view: v, masquerade: b.Masquerade}
		if t.layout == classifying {
			c.marked = v == external && isSplit(f)
		} else {
			c.n, c.timeout = uint32(len(b.Endpoints)), max(f.AffinityTimeoutSeconds, 0)
		}
		return target{forward, c}
	case model.Drop:
		return target{kind: drop}
	}
	return target{kind: refuse}
}

// update changes what the kernel holds of a frontend into what f says (nil:
// nothing), and returns it.
func (t *table) update(b *nft.Batch, key model.FrontendKey, old held, f *model.Frontend) (held, error) {
	if err := t.check(f); err != nil {
		return held{}, err
	}
	at, targets := whereOf(key), t.wantedTargets(f)
	var buf [64]byte
	element := appendKey(buf[:0], key)
	var out held
	out.restricted, out.sources = t.updateSources(b, element, old, f)
	if t.layout == classifying {
		out.mark = t.updateMark(b, key, old.mark, f)
	} else {
		out.affinity = t.updateAffinityPort(b, key, old.affinity, f)
	}
	for v := range views {
		out.views[v].target = targets[v]
		if t.layout == balancing {
			t.updateEndpoints(b, key, v, old.views[v], &out.views[v], f)
		}
		if old.views[v].target == targets[v] {
			continue
		}
		if old.views[v].target.kind != absent {
			b.Delete(t.verdicts[at][v]).Key(element)
		}
		if targets[v].kind != absent {
			b.Add(t.verdicts[at][v]).Verdict(element, targets[v].verdict())
		}
	}
	return out, nil
}

// updateEndpoints changes the endpoints of a view into those of f.
func (t *table) updateEndpoints(b *nft.Batch, key model.FrontendKey, v view, old heldView, now *heldView, f *model.Frontend) {
	var want []model.Endpoint
	if now.target.kind == forward {
		want = backend(f, v).Endpoints
	}
	var buf [64]byte
	now.endpoints = assign(old.endpoints, want)
	t.moveEndpoints(b, t.endpoints[whereOf(key)][v], appendKey(buf[:0], key), nil, old.endpoints, now.endpoints)
	t.updateAffinity(b, key, v, old, now, want)
}

// backend returns what a view of the frontend leads to.
func backend(f *model.Frontend, v view) model.Backend {
	if v == external {
		return f.External
	}
	return f.Internal
}

// check guards what would otherwise end in an element that makes no sense.
func (t *table) check(f *model.Frontend) error {
	if f == nil {
		return nil
	}
	if err := errors.Join(t.checkSources(f), t.checkAffinity(f)); err != nil {
		return err
	}
	for _, b := range []model.Backend{f.Internal, f.External} {
		if b.Verdict == model.Forward && len(b.Endpoints) == 0 {
			return fmt.Errorf("%s of %s forwards to no endpoint", f.Key, f.Service)
		}
		if b.Verdict == model.Forward && chainKinds[b.Masquerade] == "" {
			return fmt.Errorf("%s of %s: unknown masquerade decision %q", f.Key, f.Service, b.Masquerade)
		}
		for _, e := range b.Endpoints {
			if !t.ours(e.Addr()) {
				return fmt.Errorf("%s of %s: endpoint %s is of another family", f.Key, f.Service, e)
			}
		}
	}
	return nil
}

// moveEndpoints makes the elements of a frontend's endpoints from old to now. The
// prefix comes before each value.
func (t *table) moveEndpoints(b *nft.Batch, s *nft.Set, key, prefix []byte, old, now []model.Endpoint) {
	var buf [24]byte
	for i := range max(len(old), len(now)) {
		var was, is model.Endpoint
		if i < len(old) {
			was = old[i]
		}
		if i < len(now) {
			is = now[i]
		}
		if was == is {
			continue
		}
		element := appendIndex(key, i)
		if was.IsValid() {
			b.Delete(s).Key(element)
		}
		if is.IsValid() {
			b.Add(s).Data(element, appendEndpoint(append(buf[:0], prefix...), is))
		}
	}
}

// assign gives each wanted endpoint a number. An endpoint keeps the one it has;
// the number of one that is gone goes to the last or to a new one. So a changed
// endpoint costs a few elements, however many there are.
func assign(old, want []model.Endpoint) []model.Endpoint {
	if len(old) == 0 || slices.Equal(old, want) {
		return want // shared, so that the usual cases take no memory
	}
	missing := make(map[model.Endpoint]struct{}, len(want))
	for _, e := range want {
		missing[e] = struct{}{}
	}
	out := make([]model.Endpoint, len(want))
	for i, e := range old[:min(len(old), len(want))] {
		if _, ok := missing[e]; ok {
			out[i] = e
			delete(missing, e)
		}
	}
	next := 0
	for _, e := range want {
		if _, ok := missing[e]; !ok {
			continue
		}
		for out[next].IsValid() {
			next++
		}
		out[next] = e
	}
	return out
}
