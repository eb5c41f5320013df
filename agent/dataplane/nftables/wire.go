// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"bytes"
	"encoding/binary"
	"iter"

	"golang.org/x/sys/unix"
)

// Attribute and message numbers that x/sys/unix does not have.
const (
	tableUserdata = 6 // NFTA_TABLE_USERDATA
	setKeyLen     = 5 // NFTA_SET_KEY_LEN
	setDataType   = 6 // NFTA_SET_DATA_TYPE
	setDataLen    = 7 // NFTA_SET_DATA_LEN

	elemCatchAll = 2 // NFT_SET_ELEM_CATCHALL

	nlmsgHeaderLen = 16
	nfgenmsgLen    = 4
	attrHeaderLen  = 4
	attrTypeMask   = 0x3fff // without NLA_F_NESTED and NLA_F_NET_BYTEORDER
)

// buffer builds netlink messages one after the other. The library's way, a slice
// of attributes for each element, takes several times the memory and the time.
type buffer struct{ b []byte }

// begin starts a message of the nftables subsystem; end finishes it. The
// sequence number is filled in when the message is sent.
func (w *buffer) begin(msgType int, family byte, flags int) (start int) {
	return w.beginRaw(unix.NFNL_SUBSYS_NFTABLES<<8|msgType, family, flags, 0)
}

func (w *buffer) beginRaw(msgType int, family byte, flags int, resource uint16) (start int) {
	start = len(w.b)
	w.b = append(w.b, 0, 0, 0, 0)
	w.b = binary.NativeEndian.AppendUint16(w.b, uint16(msgType))
	w.b = binary.NativeEndian.AppendUint16(w.b, uint16(unix.NLM_F_REQUEST|flags))
	w.b = append(w.b, 0, 0, 0, 0, 0, 0, 0, 0)
	w.b = append(w.b, family, unix.NFNETLINK_V0)
	w.b = binary.BigEndian.AppendUint16(w.b, resource)
	return start
}

func (w *buffer) end(start int) {
	binary.NativeEndian.PutUint32(w.b[start:], uint32(len(w.b)-start))
}

// attr appends an attribute.
func (w *buffer) attr(typ int, data []byte) {
	w.header(typ, len(data))
	w.b = append(w.b, data...)
	w.pad()
}

// text appends an attribute with a string.
func (w *buffer) text(typ int, s string) {
	w.header(typ, len(s)+1)
	w.b = append(append(w.b, s...), 0)
	w.pad()
}

// number appends an attribute with a number.
func (w *buffer) number(typ int, n uint32) {
	w.header(typ, 4)
	w.b = binary.BigEndian.AppendUint32(w.b, n)
}

// nest starts an attribute that holds others; endNest finishes it.
func (w *buffer) nest(typ int) (start int) {
	start = len(w.b)
	w.header(typ|unix.NLA_F_NESTED, 0)
	return start
}

func (w *buffer) endNest(start int) {
	binary.NativeEndian.PutUint16(w.b[start:], uint16(len(w.b)-start))
}

// header appends the header of an attribute, whose length does not count padding.
func (w *buffer) header(typ, length int) {
	w.b = binary.NativeEndian.AppendUint16(w.b, uint16(attrHeaderLen+length))
	w.b = binary.NativeEndian.AppendUint16(w.b, uint16(typ))
}

func (w *buffer) pad() {
	for len(w.b)%4 != 0 {
		w.b = append(w.b, 0)
	}
}

// message is a netlink message as the kernel sends it.
type message struct {
	typ, flags uint16
	seq        uint32
	data       []byte // after the netlink header
}

// messages splits what a receive has returned.
func messages(b []byte) iter.Seq[message] {
	return func(yield func(message) bool) {
		for len(b) >= nlmsgHeaderLen {
			length := int(binary.NativeEndian.Uint32(b))
			if length < nlmsgHeaderLen || length > len(b) {
				return
			}
			m := message{
				typ:   binary.NativeEndian.Uint16(b[4:]),
				flags: binary.NativeEndian.Uint16(b[6:]),
				seq:   binary.NativeEndian.Uint32(b[8:]),
				data:  b[nlmsgHeaderLen:length],
			}
			if !yield(m) {
				return
			}
			b = b[min(align(length), len(b)):]
		}
	}
}

// attrs yields the attributes in b, with their type as it stands there.
func attrs(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= attrHeaderLen {
			length := int(binary.NativeEndian.Uint16(b))
			if length < attrHeaderLen || length > len(b) {
				return
			}
			if !yield(binary.NativeEndian.Uint16(b[2:]), b[attrHeaderLen:length]) {
				return
			}
			b = b[min(align(length), len(b)):]
		}
	}
}

// find returns the first attribute of a type, nil if there is none.
func find(b []byte, typ int) []byte {
	for t, data := range attrs(b) {
		if int(t&attrTypeMask) == typ {
			return data
		}
	}
	return nil
}

// textOf decodes an attribute with a string.
func textOf(data []byte) string { return string(bytes.TrimRight(data, "\x00")) }

func align(n int) int { return (n + 3) &^ 3 }

// covers says whether dumped, which the kernel has sent, has every attribute of
// sent with the same value. The kernel adds what it knows besides (handles,
// counters, defaults), differently in each version, so equality is too much.
// Attributes that occur more than once are compared in their order.
func covers(dumped, sent []byte) bool {
	seen := map[uint16]int{}
	for typ, want := range attrs(sent) {
		typ, nested := typ&attrTypeMask, typ&unix.NLA_F_NESTED != 0
		got, ok := nth(dumped, typ, seen[typ])
		seen[typ]++
		if !ok {
			return false
		}
		if nested && !covers(got, want) || !nested && !bytes.Equal(got, want) {
			return false
		}
	}
	return true
}

// nth returns the n-th attribute of a type.
func nth(b []byte, typ uint16, n int) ([]byte, bool) {
	for t, data := range attrs(b) {
		if t&attrTypeMask == typ {
			if n == 0 {
				return data, true
			}
			n--
		}
	}
	return nil, false
}
