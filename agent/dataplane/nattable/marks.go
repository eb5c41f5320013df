// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nattable

import (
	"context"
	"encoding/binary"
	"hash/fnv"
	"slices"

	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// marks is the target Mark. Its chains mark packets to be masqueraded and accept. If
// packets from outside have other endpoints, they also set a firewall mark:
//
//	marks  { protocol . address . port : mark }
//
// A firewall mark has markBase in its first 8 bits. It is cleared after IPVS, so that no
// other program sees it.
type marks struct {
	*layout
	set *nft.Set
}

const (
	markBase = 0xf1000000
	markMask = 0xff000000
)

// IsOurMark says whether a firewall mark is one of ours.
func IsOurMark(mark uint32) bool { return mark&markMask == markBase }

// isSplit says whether packets from outside have other endpoints.
func isSplit(f *model.Frontend) bool {
	return f.External.Verdict == model.Forward &&
		(f.Internal.Verdict != model.Forward || !slices.Equal(f.Internal.Endpoints, f.External.Endpoints))
}

func newMarks(l *layout) target {
	return &marks{l, l.addSet(nft.SetSpec{Name: "marks", Key: l.keyFields(), Data: []nft.Field{nft.MarkField()}})}
}

func (m *marks) chains() []*nft.Chain                                   { return nil }
func (m *marks) lookups(where, view, []nft.Expr) []nft.Rule             { return nil }
func (m *marks) localhost(string, []nft.Expr) []nft.Rule                { return nil } // IPVS cannot take them
func (m *marks) uses(model.FrontendKey, heldFrontend) (none [views]use) { return none }
func (m *marks) growList(*planner, listKey, heldList, heldList)         {}
func (m *marks) shrinkList(*planner, listKey, heldList, heldList, bool) {}

func (m *marks) rules(c portChain) (out []nft.Rule) {
	if c.role != toMark {
		return []nft.Rule{m.NewRule("", nft.Accept())}
	}
	for at := range wheres {
		out = append(out, m.rule("", m.key(at, 0), one(nft.DataOf(m.set, 0, 0), nft.StoreMark(), nft.Accept())))
	}
	return out
}

// output accepts the reply that rejects a packet of the node. A process that connects to a
// virtual address has that same address as its source, so the reply goes to a port of the
// virtual address that no Service has.
func (m *marks) output() []nft.Rule {
	return []nft.Rule{m.rule("a rejection", nft.Reply(), one(nft.Accept()))}
}

// postrouting handles packets that IPVS has forwarded: it clears the mark, and masquerades
// packets of a process of the node that connected to a virtual address with that same
// address as its source, because no host could reply to it.
func (m *marks) postrouting() ([]nft.Rule, []nft.Expr) {
	return []nft.Rule{
		m.NewRule("", nft.LoadMark(0), nft.Mask(0, native(markMask)), nft.Equals(native(markBase)),
			nft.Load(native(0)), nft.StoreMark()),
		m.NewRule("from a virtual address", m.Source(0), nft.In(m.clusterIPs, 0), nft.Masquerade()),
	}, nil
}

func (m *marks) want(f *model.Frontend) (w wantedFrontend) {
	w.marked = isSplit(f)
	for v, b := range f.Views() {
		switch b.Verdict {
		case model.Forward:
			how, _ := masqueradeOf(b.Masquerade)
			w.views[v].verdict = forwardTo(portChain{role: toIPVS, masquerade: how})
			if v == external && w.marked {
				w.views[v].verdict.chain.role = toMark
			}
		case model.Drop:
			w.views[v].verdict.kind = drop
		default:
			w.views[v].verdict.kind = refuse
		}
	}
	return w
}

func (m *marks) put(p *planner, key model.FrontendKey, old, now heldFrontend, _ bool) {
	if old.mark == now.mark {
		return
	}
	var buf [64]byte
	element := appendKey(buf[:0], key)
	if old.mark != 0 {
		p.batch.Delete(m.set).Key(element)
	}
	if now.mark != 0 {
		p.batch.Add(m.set).Data(element, native(now.mark))
	}
}

// read reads the firewall marks of all frontends.
func (m *marks) read(ctx context.Context, r *reader) error {
	found := map[model.FrontendKey]uint32{}
	err := r.each(ctx, m.set, func() { clear(found) }, func(element nft.Element) bool {
		key, ok := m.parseKey(element.Key)
		value := element.Data()
		if !ok || len(value) != 4 {
			return false
		}
		mark := binary.NativeEndian.Uint32(value)
		found[key] = mark
		return IsOurMark(mark) && mark&masqueradeMark == 0 && mark != markBase
	})
	for key, mark := range found {
		r.frontend(key, func(h *heldFrontend) { h.mark = mark })
	}
	return err
}

// assignedMarks are the marks of frontends.
type assignedMarks map[uint32]model.FrontendKey

// take returns a mark for a frontend: its current one, unless another frontend has it,
// otherwise one that depends on its key.
func (m assignedMarks) take(key model.FrontendKey, has uint32) uint32 {
	if has != 0 {
		if owner, taken := m[has]; !taken || owner == key {
			m[has] = key
			return has
		}
	}
	h := fnv.New32a()
	h.Write(appendKey(nil, key))
	for n := h.Sum32(); ; n++ {
		// The bit for masquerading must stay free.
		mark := markBase | n&^(markMask|masqueradeMark)
		if owner, taken := m[mark]; mark != markBase && (!taken || owner == key) {
			m[mark] = key
			return mark
		}
	}
}

// release frees a mark.
func (m assignedMarks) release(key model.FrontendKey, mark uint32) {
	if m[mark] == key {
		delete(m, mark)
	}
}
