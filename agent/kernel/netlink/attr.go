// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package netlink

import (
	"bytes"
	"encoding/binary"
	"iter"

	"golang.org/x/sys/unix"
)

const (
	attrHeaderLen = 4
	attrNumber    = 0x3fff // without NLA_F_NESTED and NLA_F_NET_BYTEORDER
)

// AttrType is the type of an attribute: a number and flags.
type AttrType uint16

// Number is the attribute's number, such as unix.NFTA_TABLE_NAME.
func (t AttrType) Number() int { return int(t & attrNumber) }

// Nested says whether the attribute holds attributes.
func (t AttrType) Nested() bool { return t&unix.NLA_F_NESTED != 0 }

// Attrs yields the attributes in b.
func Attrs(b []byte) iter.Seq2[AttrType, []byte] {
	return func(yield func(AttrType, []byte) bool) {
		for len(b) >= attrHeaderLen {
			length := int(binary.NativeEndian.Uint16(b))
			if length < attrHeaderLen || length > len(b) {
				return
			}
			if !yield(AttrType(binary.NativeEndian.Uint16(b[2:])), b[attrHeaderLen:length]) {
				return
			}
			b = b[min(align(length), len(b)):]
		}
	}
}

// Find returns the first attribute with a number; nil if there is none.
func Find(b []byte, number int) []byte {
	for t, data := range Attrs(b) {
		if t.Number() == number {
			return data
		}
	}
	return nil
}

// Text decodes a string attribute.
func Text(data []byte) string { return string(bytes.TrimRight(data, "\x00")) }

// Number decodes an attribute of a 32-bit number in network byte order; 0 if it has
// another length.
func Number(data []byte) uint32 {
	if len(data) != 4 {
		return 0
	}
	return binary.BigEndian.Uint32(data)
}

// Covers says whether dumped, attributes from the kernel, has every attribute of sent with
// the same value. The kernel adds others (handles, counters, defaults), which differ
// between versions, so equality would be too strict. Attributes that occur more than once
// are compared in order.
func Covers(dumped, sent []byte) bool {
	seen := map[int]int{}
	for typ, want := range Attrs(sent) {
		got, ok := nth(dumped, typ.Number(), seen[typ.Number()])
		seen[typ.Number()]++
		if !ok {
			return false
		}
		if typ.Nested() && !Covers(got, want) || !typ.Nested() && !bytes.Equal(got, want) {
			return false
		}
	}
	return true
}

// nth returns the n-th attribute with a number.
func nth(b []byte, number, n int) ([]byte, bool) {
	for t, data := range Attrs(b) {
		if t.Number() == number {
			if n == 0 {
				return data, true
			}
			n--
		}
	}
	return nil, false
}

func align(n int) int { return (n + 3) &^ 3 }
