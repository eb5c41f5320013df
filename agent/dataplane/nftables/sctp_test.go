// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"encoding/binary"
	"hash/crc32"
	"net"
	"testing"
	"time"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// sctpInit returns an SCTP packet that opens an association.
func sctpInit(from, to uint16) []byte {
	b := binary.BigEndian.AppendUint16(nil, from)
	b = binary.BigEndian.AppendUint16(b, to)
	b = append(b, make([]byte, 8)...) // verification tag, checksum
	const chunkInit = 1
	b = append(b, chunkInit, 0, 0, 20)
	b = binary.BigEndian.AppendUint32(b, 0x12345678) // initiate tag
	b = binary.BigEndian.AppendUint32(b, 65536)      // window
	b = append(b, 0, 1, 0, 1, 0, 0, 0, 1)            // streams out and in, sequence number
	checksum := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
	binary.LittleEndian.PutUint32(b[8:], checksum)
	return b
}

// TestSCTP sends the first packet of an association through raw sockets, because the
// kernel need not support SCTP itself.
func TestSCTP(t *testing.T) {
	o, f := newTopology(t), families[0]
	desired, s := model.NewDesired(), f.services()
	put(&desired, join(s.cluster, "80")+"/sctp", clusterIP(join(f.podA, "8080")))
	stick(&desired, join(s.cluster, "80")+"/sctp", "", 60)
	mustSync(t, o.node.dataplane(), desired)

	var receiver, sender net.PacketConn
	open := func(space *space, c *net.PacketConn, addr string) {
		space.Do(func() (err error) {
			*c, err = net.ListenPacket("ip4:132", addr)
			return err
		})
		t.Cleanup(func() { (*c).Close() })
	}
	open(o.podA, &receiver, f.podA)
	open(o.client, &sender, f.client)
	if _, err := sender.WriteTo(sctpInit(4000, 80), &net.IPAddr{IP: net.ParseIP(s.cluster)}); err != nil {
		t.Fatal(err)
	}
	if err := receiver.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 256)
	n, from, err := receiver.ReadFrom(b)
	if err != nil {
		t.Fatal(err)
	}
	if n < 12 || binary.BigEndian.Uint16(b[2:]) != 8080 || from.String() != f.client {
		t.Errorf("got port %d from %s, want 8080 from %s", binary.BigEndian.Uint16(b[2:]), from, f.client)
	}
}
