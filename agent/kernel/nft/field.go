// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"encoding/binary"
	"slices"
)

// The numbers of nft for the types of keys and values, in 6 bits each.
const (
	typeInteger = 4
	typeIPv4    = 7
	typeIPv6    = 8
	typeProto   = 12
	typeService = 13
	typeMark    = 19
	typeVerdict = 0xffffff00
)

// Field is a part of a key or a value. Each starts at a multiple of 4 bytes.
type Field struct {
	typ   uint32
	len   int
	udata []byte // nft's encoding of the expression that yields it
}

// DestinationField is a destination address.
func (t *Table) DestinationField() Field {
	if t.V6() {
		return t.addrField(13, 9) // ip6, daddr
	}
	return t.addrField(12, 12) // ip, daddr
}

// SourceField is a source address.
func (t *Table) SourceField() Field {
	if t.V6() {
		return t.addrField(13, 8) // ip6, saddr
	}
	return t.addrField(12, 11) // ip, saddr
}

func (t *Table) addrField(header, position uint32) Field {
	typ := uint32(typeIPv4)
	if t.V6() {
		typ = typeIPv6
	}
	return Field{typ, t.AddrLen(), payloadUserdata(header, position)}
}

// NumberField is the value of a number generator: 4 bytes in the host's byte order.
func NumberField() Field {
	const exprNumgen, numgenRandom = 23, 1
	data := slices.Concat(udata(0, native(numgenRandom)), udata(1, native(0xffff)), udata(2, native(0)))
	return Field{typeInteger, 4, exprUserdata(exprNumgen, data)}
}

// ProtocolField is the protocol of the transport layer, in a byte.
func ProtocolField() Field { // meta l4proto
	const exprMeta, metaL4Proto = 9, 16
	return Field{typeProto, 1, exprUserdata(exprMeta, udata(0, native(metaL4Proto)))}
}

// PortField is a port, in network byte order.
func PortField() Field { return Field{typeService, 2, payloadUserdata(11, 2)} } // th dport

// MarkField is a packet mark, in the host's byte order.
func MarkField() Field { return Field{typ: typeMark, len: 4} }

// concat returns the type and the length of a concatenation.
func concat(fields []Field) (typ, length uint32) {
	for _, f := range fields {
		typ = typ<<6 | f.typ
		length += uint32((f.len + 3) &^ 3)
	}
	return typ, length
}

// typeofUserdata encodes the types of a map as nft does for `typeof`. Without it nft does
// not know the length of the integer in a key, and aborts.
func typeofUserdata(key, data []Field) []byte {
	const byteOrderKey, byteOrderData, typeofKey, typeofData, exprConcat = 0, 1, 3, 4, 13
	typeof := func(fields []Field) []byte {
		var parts []byte
		for i, f := range fields {
			parts = append(parts, udata(byte(i), f.udata)...)
		}
		return exprUserdata(exprConcat, parts)
	}
	return slices.Concat(
		udata(byteOrderKey, native(0)), udata(byteOrderData, native(0)),
		udata(typeofKey, typeof(key)), udata(typeofData, typeof(data)))
}

// payloadUserdata encodes a field of a protocol's header, with nft's numbers.
func payloadUserdata(header, position uint32) []byte {
	const exprPayload = 7
	return exprUserdata(exprPayload, slices.Concat(udata(0, native(header)), udata(1, native(position))))
}

func exprUserdata(kind uint32, data []byte) []byte {
	return slices.Concat(udata(0, native(kind)), udata(1, data))
}

// udata is an attribute of user data: type and length in one byte each.
func udata(typ byte, data []byte) []byte {
	return append([]byte{typ, byte(len(data))}, data...)
}

func native(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }
