// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"encoding/binary"
	"hash/fnv"
	"slices"

	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// In the layout for IPVS the chains of frontends do not translate: they mark what
// is to be masqueraded, and let IPVS choose the endpoint, by the address of the
// frontend, or by a firewall mark if what comes from outside has endpoints of its
// own:
//
//	marks  { address . protocol . port : mark }
//
// A firewall mark has markBase in its first 8 bits; it is taken off again after
// IPVS, so that no other program sees it.

const (
	markBase = 0xf1000000
	markMask = 0xff000000

	suffixIPVS = "ipvs"
	suffixMark = "mark"
)

// IsOurMark says whether a firewall mark is one of ours.
func IsOurMark(mark uint32) bool { return mark&markMask == markBase }

// isSplit says whether what comes from outside has endpoints of its own.
func isSplit(f *model.Frontend) bool {
	return f != nil && f.External.Verdict == model.Forward &&
		(f.Internal.Verdict != model.Forward || !slices.Equal(f.Internal.Endpoints, f.External.Endpoints))
}

// addMarkSets adds the maps above to the layout.
func (t *table) addMarkSets() {
	mark := []nft.Field{nft.MarkField()}
	t.marks[onAddress] = t.addSet(nft.SetSpec{Name: "marks", Key: t.keyFields(true, false), Data: mark})
	t.marks[onNodePort] = t.addSet(nft.SetSpec{Name: "nodeport-marks", Key: t.keyFields(false, false), Data: mark})
}

// toIPVS are the last rules of a frontend's chain.
func (t *table) toIPVS(c serviceChain) []nft.Rule {
	accept := nft.Accept()
	if !c.marked {
		return []nft.Rule{t.NewRule("", accept)}
	}
	key, _ := t.chainKey(c.at)
	return []nft.Rule{
		t.NewRule("", append(key, nft.DataOf(t.marks[c.at], 0, 0), nft.StoreMark(), accept)...),
		t.NewRule("", nft.Drop()), // the mark is of a moment ago
	}
}

// afterIPVS are the rules of postrouting for what IPVS has forwarded: the mark is
// taken off, and a process of the node that reached a virtual address took just
// that for its own address, which nobody else could answer to.
func (t *table) afterIPVS() []nft.Rule {
	return []nft.Rule{
		t.NewRule("", nft.LoadMark(), nft.Mask(0, native(markMask)), nft.Equals(native(markBase)),
			nft.Load(native(0)), nft.StoreMark()),
		t.NewRule("from a virtual address", t.Source(0), nft.In(t.clusterIPs, 0), nft.Masquerade()),
	}
}

// assignedMarks are the marks of frontends, and the other way round.
type assignedMarks map[uint32]model.FrontendKey

// take returns a mark for a frontend: the one that it has, if nobody else has it,
// else one that depends on its key.
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
		// The bit for masquerading has another meaning.
		mark := markBase | n&^(markMask|masqueradeMark)
		if owner, taken := m[mark]; mark != markBase && (!taken || owner == key) {
			m[mark] = key
			return mark
		}
	}
}

// release gives a mark back.
func (m assignedMarks) release(key model.FrontendKey, mark uint32) {
	if m[mark] == key {
		delete(m, mark)
	}
}

// updateMark changes the firewall mark of a frontend, and returns it.
func (t *table) updateMark(b *nft.Batch, key model.FrontendKey, old uint32, f *model.Frontend) uint32 {
	now := uint32(0)
	if isSplit(f) {
		now = t.assigned.take(key, old)
	} else if old != 0 {
		t.assigned.release(key, old)
	}
	if now == old {
		return now
	}
	var buf [64]byte
	element, s := appendKey(buf[:0], key), t.marks[whereOf(key)]
	if old != 0 {
		b.Delete(s).Key(element)
	}
	if now != 0 {
		b.Add(s).Data(element, native(now))
	}
	return now
}

// readMarks reads the firewall marks of all frontends.
func (r *elementReader) readMarks(ctx context.Context) error {
	for at := range wheres {
		found := map[model.FrontendKey]uint32{}
		err := r.each(ctx, r.table.marks[at], func() { clear(found) }, func(element nft.Element) bool {
			key, ok := r.table.parseKey(element.Key, at)
			value := element.Data()
			if !ok || len(value) != 4 {
				return false
			}
			mark := binary.NativeEndian.Uint32(value)
			found[key] = mark
			return mark&markMask == markBase && mark&masqueradeMark == 0 && mark != markBase
		})
		if err != nil {
			return err
		}
		for key, mark := range found {
			h := r.frontends[key]
			h.mark = mark
			r.frontends[key] = h
		}
	}
	return nil
}
