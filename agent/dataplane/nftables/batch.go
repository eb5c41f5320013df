// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// messageLimit is where a message with elements ends and the next begins. The
// length of the attribute that holds the elements has 16 bits.
const messageLimit = 60 << 10

// messageSlack is more than the last element of a message is long.
const messageSlack = 1 << 10

// batch collects changes that take effect together. They are sent in an order
// that suits the kernel, not in the order of the calls: deleted elements go
// before added ones, so that a key can change its value.
type batch struct {
	objects messageList // tables, sets, chains
	rules   messageList
	streams map[streamKey]*stream
	order   []streamKey // of streams, for a stable order
	last    messageList // sets and chains to delete

	ops int
}

func newBatch() *batch { return &batch{streams: map[streamKey]*stream{}} }

// messageList is messages one after the other, each with what it is about. What is
// in full comes first: a buffer that grew with all of them would be copied as it
// grows, and take twice the memory.
type messageList struct {
	buffer
	full   [][]byte
	labels []string
}

// put appends a message.
func (l *messageList) put(label string, msgType int, family byte, flags int, attrs []byte) {
	start := l.begin(msgType, family, flags)
	l.b = append(l.b, attrs...)
	l.end(start)
	l.labels = append(l.labels, label)
}

type streamKey struct {
	set *set
	del bool
}

// stream is the elements to add to a set, or to delete from it.
type stream struct {
	messageList
	key         streamKey
	open        bool
	start, list int
}

// to returns the stream of elements to add to a set.
func (b *batch) to(s *set) *stream { return b.stream(streamKey{set: s}) }

// from returns the stream of elements to delete from a set.
func (b *batch) from(s *set) *stream { return b.stream(streamKey{set: s, del: true}) }

func (b *batch) stream(key streamKey) *stream {
	b.ops++
	s := b.streams[key]
	if s == nil {
		s = &stream{key: key}
		b.streams[key] = s
		b.order = append(b.order, key)
	}
	return s
}

// element starts an element; done finishes it.
func (s *stream) element(key []byte) (start int) {
	if s.open && len(s.b)-s.start > messageLimit {
		s.close()
		s.full = append(s.full, s.b)
		s.b = make([]byte, 0, messageLimit+messageSlack)
	}
	if !s.open {
		s.openMessage()
	}
	start = s.nest(unix.NFTA_LIST_ELEM)
	outer := s.nest(unix.NFTA_SET_ELEM_KEY)
	s.attr(unix.NFTA_DATA_VALUE, key)
	s.endNest(outer)
	return start
}

// plain adds an element that has only a key.
func (s *stream) plain(key []byte) { s.endNest(s.element(key)) }

// value adds an element of a map from keys to data.
func (s *stream) value(key, data []byte) {
	start := s.element(key)
	outer := s.nest(unix.NFTA_SET_ELEM_DATA)
	s.attr(unix.NFTA_DATA_VALUE, data)
	s.endNest(outer)
	s.endNest(start)
}

// verdict adds an element of a map from keys to verdicts.
func (s *stream) verdict(key []byte, v verdict) {
	start := s.element(key)
	outer := s.nest(unix.NFTA_SET_ELEM_DATA)
	inner := s.nest(unix.NFTA_DATA_VERDICT)
	s.number(unix.NFTA_VERDICT_CODE, uint32(v.code))
	if v.chain != "" {
		s.text(unix.NFTA_VERDICT_CHAIN, v.chain)
	}
	s.endNest(inner)
	s.endNest(outer)
	s.endNest(start)
}

// catchAll adds the element that stands for every key. We never make one, but we
// delete those of others.
func (s *stream) catchAll() {
	if !s.open {
		s.openMessage()
	}
	start := s.nest(unix.NFTA_LIST_ELEM)
	s.number(unix.NFTA_SET_ELEM_FLAGS, elemCatchAll)
	s.endNest(start)
}

// openMessage starts a message; elements are added until it is full.
func (s *stream) openMessage() {
	t := s.key.set.table
	msgType, flags, label := unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, "adding elements to "
	if s.key.del {
		msgType, flags, label = unix.NFT_MSG_DELSETELEM, 0, "deleting elements from "
	}
	s.open, s.start = true, s.begin(msgType, t.family, flags)
	s.text(unix.NFTA_SET_ELEM_LIST_TABLE, t.name)
	s.text(unix.NFTA_SET_ELEM_LIST_SET, s.key.set.name)
	s.list = s.nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
	s.labels = append(s.labels, label+s.key.set.String())
}

func (s *stream) close() {
	s.endNest(s.list)
	s.end(s.start)
	s.open = false
}

// encode returns the messages in one buffer, and a label for each. It takes them
// out of the batch.
func (b *batch) encode() ([]byte, []string) {
	lists := []*messageList{&b.objects, &b.rules}
	for _, del := range []bool{true, false} {
		for _, key := range b.order {
			if s := b.streams[key]; key.del == del {
				if s.open {
					s.close()
				}
				lists = append(lists, &s.messageList)
			}
		}
	}
	lists = append(lists, &b.last)

	size := 2 * (nlmsgHeaderLen + nfgenmsgLen)
	for _, l := range lists {
		l.full, l.b = append(l.full, l.b), nil
		for _, part := range l.full {
			size += len(part)
		}
	}
	out, labels := buffer{b: make([]byte, 0, size)}, []string{"committing the batch"}
	out.end(out.beginRaw(unix.NFNL_MSG_BATCH_BEGIN, unix.AF_UNSPEC, 0, unix.NFNL_SUBSYS_NFTABLES))
	final := 0 // offset of the last message before the end: the one to acknowledge
	for _, l := range lists {
		for _, part := range l.full {
			for off := 0; off < len(part); off += int(binary.NativeEndian.Uint32(part[off:])) {
				final = len(out.b) + off
			}
			out.b = append(out.b, part...)
		}
		l.full = nil // while the kernel works on its copy
		labels = append(labels, l.labels...)
	}
	flags := binary.NativeEndian.Uint16(out.b[final+6:])
	binary.NativeEndian.PutUint16(out.b[final+6:], flags|unix.NLM_F_ACK)
	out.end(out.beginRaw(unix.NFNL_MSG_BATCH_END, unix.AF_UNSPEC, 0, unix.NFNL_SUBSYS_NFTABLES))
	return out.b, append(labels, "ending the batch")
}
