// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/kernel/netlink"
)

// messageLimit is the length in bytes after which a new message with elements starts: the
// length of the attribute that holds them has 16 bits.
const messageLimit = 60 << 10

// messageSlack is more than the length of one element in bytes.
const messageSlack = 1 << 10

// elemCatchAll is NFT_SET_ELEM_CATCHALL.
const elemCatchAll = 2

// The codes of verdicts.
const (
	codeDrop = 0
	codeGoto = -4
)

// Verdict is a verdict as an element holds it. It is comparable.
type Verdict struct {
	Code  int32  // NF_ACCEPT and so on
	Chain string // of jump and goto
}

// VerdictDrop drops the packet.
func VerdictDrop() Verdict { return Verdict{Code: codeDrop} }

// VerdictGoto continues at a chain, without return.
func VerdictGoto(chain string) Verdict { return Verdict{codeGoto, chain} }

type streamKey struct {
	set *Set
	del bool
}

// Stream is the elements to add to a set, or to delete from it. Keys and data have the
// kernel's encoding, with the length of the set's fields.
type Stream struct {
	list         messageList
	key          streamKey
	open         bool
	start, inner int
}

// Add returns the stream of elements to add to a set. Each call counts as an
// operation: call it for each element.
func (b *Batch) Add(s *Set) *Stream { return b.stream(streamKey{set: s}) }

// Delete returns the stream of elements to delete from a set. Each call counts as an
// operation: call it for each element.
func (b *Batch) Delete(s *Set) *Stream { return b.stream(streamKey{set: s, del: true}) }

func (b *Batch) stream(key streamKey) *Stream {
	b.operations++
	s := b.streams[key]
	if s == nil {
		s = &Stream{key: key}
		b.streams[key] = s
		b.order = append(b.order, key)
	}
	return s
}

// Key appends an element of a set, or one of a map to delete.
func (s *Stream) Key(key []byte) { s.list.EndNest(s.element(key)) }

// Data appends an element of a map from keys to data.
func (s *Stream) Data(key, data []byte) {
	start := s.element(key)
	outer := s.list.Nest(unix.NFTA_SET_ELEM_DATA)
	s.list.Attr(unix.NFTA_DATA_VALUE, data)
	s.list.EndNest(outer)
	s.list.EndNest(start)
}

// Verdict appends an element of a map from keys to verdicts.
func (s *Stream) Verdict(key []byte, v Verdict) {
	w, start := &s.list, s.element(key)
	outer := w.Nest(unix.NFTA_SET_ELEM_DATA)
	inner := w.Nest(unix.NFTA_DATA_VERDICT)
	w.Number(unix.NFTA_VERDICT_CODE, uint32(v.Code))
	if v.Chain != "" {
		w.Text(unix.NFTA_VERDICT_CHAIN, v.Chain)
	}
	w.EndNest(inner)
	w.EndNest(outer)
	w.EndNest(start)
}

// CatchAll appends the catch-all element, which matches every key.
func (s *Stream) CatchAll() {
	s.reserve()
	start := s.list.Nest(unix.NFTA_LIST_ELEM)
	s.list.Number(unix.NFTA_SET_ELEM_FLAGS, elemCatchAll)
	s.list.EndNest(start)
}

// element starts an element; EndNest finishes it.
func (s *Stream) element(key []byte) (start int) {
	s.reserve()
	start = s.list.Nest(unix.NFTA_LIST_ELEM)
	outer := s.list.Nest(unix.NFTA_SET_ELEM_KEY)
	s.list.Attr(unix.NFTA_DATA_VALUE, key)
	s.list.EndNest(outer)
	return start
}

// reserve ensures that there is a message with room for an element.
func (s *Stream) reserve() {
	if s.open && len(s.list.B)-s.start > messageLimit {
		s.close()
		s.list.extend()
	}
	if s.open {
		return
	}
	t, w := s.key.set.Table, &s.list
	msgType, flags, label := unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, "add elements to "
	if s.key.del {
		msgType, flags, label = unix.NFT_MSG_DELSETELEM, 0, "delete elements from "
	}
	s.open, s.start = true, begin(&w.Buffer, msgType, t.Family, flags)
	w.Text(unix.NFTA_SET_ELEM_LIST_TABLE, t.Name)
	w.Text(unix.NFTA_SET_ELEM_LIST_SET, s.key.set.Name)
	s.inner = w.Nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
	w.labels = append(w.labels, label+s.key.set.String())
}

func (s *Stream) close() {
	s.list.EndNest(s.inner)
	s.list.End(s.start)
	s.open = false
}

// Element is an element from the kernel; valid until the next one.
type Element struct {
	Key      []byte
	CatchAll bool // it matches every key
	data     []byte
}

// Data returns the value in a map from keys to data; nil if there is none.
func (e Element) Data() []byte { return netlink.Find(e.data, unix.NFTA_DATA_VALUE) }

// Verdict returns the value in a map from keys to verdicts.
func (e Element) Verdict() Verdict {
	var v Verdict
	for typ, b := range netlink.Attrs(netlink.Find(e.data, unix.NFTA_DATA_VERDICT)) {
		switch {
		case typ.Number() == unix.NFTA_VERDICT_CODE && len(b) == 4:
			v.Code = int32(binary.BigEndian.Uint32(b))
		case typ.Number() == unix.NFTA_VERDICT_CHAIN:
			v.Chain = netlink.Text(b)
		}
	}
	return v
}

// parseElement decodes an element.
func parseElement(b []byte) (e Element) {
	for typ, v := range netlink.Attrs(b) {
		switch typ.Number() {
		case unix.NFTA_SET_ELEM_KEY:
			e.Key = netlink.Find(v, unix.NFTA_DATA_VALUE)
		case unix.NFTA_SET_ELEM_DATA:
			e.data = v
		case unix.NFTA_SET_ELEM_FLAGS:
			e.CatchAll = netlink.Number(v)&elemCatchAll != 0
		}
	}
	return e
}
