// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package netlink

import (
	"encoding/binary"
	"fmt"
	"iter"

	"golang.org/x/sys/unix"
)

// HeaderLen is the length in bytes of a message's header; netfilterLen that of struct
// nfgenmsg, which follows in messages of netfilter.
const (
	HeaderLen    = 16
	netfilterLen = 4
)

// Message is a netlink message from the kernel.
type Message struct {
	Type, Flags uint16
	Seq, Port   uint32
	Data        []byte // after the header
}

// Messages yields the messages in what Receive returned.
func Messages(b []byte) iter.Seq[Message] {
	return func(yield func(Message) bool) {
		for len(b) >= HeaderLen {
			length := int(binary.NativeEndian.Uint32(b))
			if length < HeaderLen || length > len(b) {
				return
			}
			m := Message{
				Type:  binary.NativeEndian.Uint16(b[4:]),
				Flags: binary.NativeEndian.Uint16(b[6:]),
				Seq:   binary.NativeEndian.Uint32(b[8:]),
				Port:  binary.NativeEndian.Uint32(b[12:]),
				Data:  b[HeaderLen:length],
			}
			if !yield(m) {
				return
			}
			b = b[min(align(length), len(b)):]
		}
	}
}

// Attrs returns the attributes of a message of netfilter; ok is false if the message is
// too short to have any.
func (m Message) Attrs() (attrs []byte, ok bool) {
	if len(m.Data) < netfilterLen {
		return nil, false
	}
	return m.Data[netfilterLen:], true
}

// Err returns the error in an acknowledgement or at the end of a dump; nil for success. It
// wraps a unix.Errno, and includes the kernel's text if there is one.
func (m Message) Err() error {
	if len(m.Data) < 4 {
		return nil
	}
	code := int32(binary.NativeEndian.Uint32(m.Data))
	if code >= 0 {
		return nil
	}
	err := error(unix.Errno(-code))
	// The text follows the header of the message that caused the error.
	if m.Flags&unix.NLM_F_ACK_TLVS != 0 && len(m.Data) > 4+HeaderLen {
		if text := Find(m.Data[4+HeaderLen:], unix.NLMSGERR_ATTR_MSG); text != nil {
			err = fmt.Errorf("%w (%s)", err, Text(text))
		}
	}
	return err
}
