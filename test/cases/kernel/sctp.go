// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
)

// SCTP over raw sockets, because the kernel may not support it: the first two packets of
// an association, of which the second carries the answer.

const (
	chunkInit, chunkInitAck = 1, 2

	sctpHeader = 12 // ports, verification tag, checksum
	initChunk  = 20 // with its header
)

// sctpPacket returns a packet with one chunk of a type and a text behind it.
func sctpPacket(from, to uint16, tag uint32, chunk byte, text []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, from)
	b = binary.BigEndian.AppendUint16(b, to)
	b = binary.BigEndian.AppendUint32(b, tag)
	b = append(b, 0, 0, 0, 0, chunk, 0)
	length := initChunk
	if text != nil {
		length += 4 + len(text)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(length))
	b = binary.BigEndian.AppendUint32(b, 0x12345678) // tag of the answers
	b = binary.BigEndian.AppendUint32(b, 65536)      // window
	b = append(b, 0, 1, 0, 1, 0, 0, 0, 1)            // streams out and in, sequence number
	if text != nil {
		const unknownParameter = 0x8fff // to be skipped
		b = binary.BigEndian.AppendUint16(b, unknownParameter)
		b = binary.BigEndian.AppendUint16(b, uint16(4+len(text)))
		b = append(b, text...)
		b = append(b, make([]byte, -len(text)&3)...)
	}
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// sctpNetwork is the name of raw SCTP in the package net.
func sctpNetwork(a netip.Addr) string {
	if a.Is4() {
		return "ip4:132"
	}
	return "ip6:132"
}

func serveSCTP(at netip.AddrPort) (io.Closer, error) {
	conn, err := net.ListenIP(sctpNetwork(at.Addr()), &net.IPAddr{IP: at.Addr().AsSlice()})
	if err != nil {
		return nil, err
	}
	go func() {
		for b := make([]byte, 512); ; {
			n, from, err := conn.ReadFromIP(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil || n < sctpHeader+initChunk || binary.BigEndian.Uint16(b[2:]) != at.Port() || b[sctpHeader] != chunkInit {
				continue
			}
			addr, _ := netip.AddrFromSlice(from.IP)
			client := netip.AddrPortFrom(addr.Unmap(), binary.BigEndian.Uint16(b))
			tag := binary.BigEndian.Uint32(b[sctpHeader+4:])
			reply := sctpPacket(at.Port(), client.Port(), tag, chunkInitAck, answer(at, client))
			_, _ = conn.WriteToIP(reply, from) // the client counts
		}
	}()
	return conn, nil
}

// sctpClient is an association that never gets further than its first answer.
type sctpClient struct {
	*net.IPConn
	local, remote uint16
}

func dialSCTP(from netip.Addr, to netip.AddrPort) (*sctpClient, error) {
	conn, err := net.DialIP(sctpNetwork(from), &net.IPAddr{IP: from.AsSlice()}, &net.IPAddr{IP: to.Addr().AsSlice()})
	if err != nil {
		return nil, err
	}
	return &sctpClient{conn, uint16(32768 + rand.N(28000)), to.Port()}, nil
}

// Write sends the packet that opens the association, whatever the message.
func (c *sctpClient) Write(message []byte) (int, error) {
	_, err := c.IPConn.Write(sctpPacket(c.local, c.remote, 0, chunkInit, nil))
	return len(message), err
}

// Read returns the text in the answer.
func (c *sctpClient) Read(text []byte) (int, error) {
	for b := make([]byte, 512); ; {
		n, _, err := c.IPConn.ReadFromIP(b)
		if err != nil {
			return 0, err
		}
		const textAt = sctpHeader + initChunk + 4
		if n < textAt || binary.BigEndian.Uint16(b) != c.remote || binary.BigEndian.Uint16(b[2:]) != c.local {
			continue // another client's on this machine
		}
		if b[sctpHeader] != chunkInitAck {
			return 0, fmt.Errorf("SCTP chunk of type %d", b[sctpHeader])
		}
		length := int(binary.BigEndian.Uint16(b[textAt-2:])) - 4
		if length < 0 || textAt+length > n {
			return 0, io.ErrUnexpectedEOF
		}
		return copy(text, b[textAt:textAt+length]), nil
	}
}
