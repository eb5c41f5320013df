// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package netlink

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Buffer builds consecutive messages. The usual way, a slice of attributes for each
// message, takes several times the memory and the time.
type Buffer struct{ B []byte }

// Begin starts a message of a subsystem of netfilter, such as
// unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWSET; End finishes it. NLM_F_REQUEST is
// added to the flags. Conn.Send sets the sequence number.
func (w *Buffer) Begin(msgType int, family byte, flags int) (start int) {
	return w.BeginResource(msgType, family, flags, 0)
}

// BeginResource is Begin for a message with a resource identifier (res_id).
func (w *Buffer) BeginResource(msgType int, family byte, flags int, resource uint16) (start int) {
	start = len(w.B)
	w.B = append(w.B, 0, 0, 0, 0)
	w.B = binary.NativeEndian.AppendUint16(w.B, uint16(msgType))
	w.B = binary.NativeEndian.AppendUint16(w.B, uint16(unix.NLM_F_REQUEST|flags))
	w.B = append(w.B, 0, 0, 0, 0, 0, 0, 0, 0)
	w.B = append(w.B, family, unix.NFNETLINK_V0)
	w.B = binary.BigEndian.AppendUint16(w.B, resource)
	return start
}

// End finishes a message.
func (w *Buffer) End(start int) {
	binary.NativeEndian.PutUint32(w.B[start:], uint32(len(w.B)-start))
}

// Attr appends an attribute.
func (w *Buffer) Attr(typ int, data []byte) {
	w.header(typ, len(data))
	w.B = append(w.B, data...)
	w.pad()
}

// Text appends a string attribute.
func (w *Buffer) Text(typ int, s string) {
	w.header(typ, len(s)+1)
	w.B = append(append(w.B, s...), 0)
	w.pad()
}

// Number appends an attribute of a 32-bit number in network byte order.
func (w *Buffer) Number(typ int, n uint32) {
	w.header(typ, 4)
	w.B = binary.BigEndian.AppendUint32(w.B, n)
}

// Nest starts an attribute that holds others; EndNest finishes it.
func (w *Buffer) Nest(typ int) (start int) {
	start = len(w.B)
	w.header(typ|unix.NLA_F_NESTED, 0)
	return start
}

// EndNest finishes an attribute that holds others.
func (w *Buffer) EndNest(start int) {
	binary.NativeEndian.PutUint16(w.B[start:], uint16(len(w.B)-start))
}

// header appends the header of an attribute. Its length does not include padding.
func (w *Buffer) header(typ, length int) {
	w.B = binary.NativeEndian.AppendUint16(w.B, uint16(attrHeaderLen+length))
	w.B = binary.NativeEndian.AppendUint16(w.B, uint16(typ))
}

func (w *Buffer) pad() {
	for len(w.B)%4 != 0 {
		w.B = append(w.B, 0)
	}
}
