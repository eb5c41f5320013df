// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/test/cases"
)

// farAway is more than the window of a test's connection, in bytes.
const farAway = 100_000_000

// stray makes the endpoint of a connection send segments that are outside the window. If
// conntrack treats such a segment as invalid, it does not translate its source, and the
// client resets the connection (kubernetes/kubernetes#74839).
func (r *run) stray(c *connection, where []string) error {
	conn, ok := c.Conn.(*net.TCPConn)
	if !ok {
		return errors.New("only a TCP connection has a window")
	}
	met, err := exchange(conn, patience)
	if err != nil {
		return err
	}
	next, err := nextSequence(conn)
	if err != nil {
		return fmt.Errorf("sequence numbers: %w", err)
	}
	m, err := r.at(met.endpoint.Addr())
	if err != nil {
		return err
	}
	return m.do(func() error {
		for _, w := range where {
			sequence := map[string]uint32{cases.Below: next.receive - farAway, cases.Above: next.receive + farAway}[w]
			if err := sendSegment(met.endpoint, met.client, sequence, next.send); err != nil {
				return fmt.Errorf("send a segment: %w", err)
			}
		}
		return nil
	})
}

// sequence has the next numbers of a socket.
type sequence struct{ receive, send uint32 }

// nextSequence reads them in the repair mode of the socket, see tcp(7) and the kernel's
// TCP_REPAIR.
func nextSequence(conn *net.TCPConn) (s sequence, err error) {
	const (
		receiveQueue, sendQueue = 1, 2
		on, offSilently         = 1, -1 // silently: without a window probe
	)
	raw, err := conn.SyscallConn()
	if err != nil {
		return s, err
	}
	var inner error
	err = raw.Control(func(fd uintptr) {
		read := func(queue int) (uint32, error) {
			if err := unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_REPAIR_QUEUE, queue); err != nil {
				return 0, err
			}
			n, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUEUE_SEQ)
			return uint32(n), err
		}
		if inner = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_REPAIR, on); inner != nil {
			return
		}
		var receiveErr, sendErr error
		s.receive, receiveErr = read(receiveQueue)
		s.send, sendErr = read(sendQueue)
		inner = errors.Join(receiveErr, sendErr,
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_REPAIR, offSilently))
	})
	return s, errors.Join(err, inner)
}

// sendSegment sends a TCP segment with a byte of data, whatever connections there are.
func sendSegment(from, to netip.AddrPort, sequence, acknowledged uint32) error {
	const headerWords, flagsPushAck, window = 5, 0x18, 1000
	b := binary.BigEndian.AppendUint16(nil, from.Port())
	b = binary.BigEndian.AppendUint16(b, to.Port())
	b = binary.BigEndian.AppendUint32(b, sequence)
	b = binary.BigEndian.AppendUint32(b, acknowledged)
	b = append(b, headerWords<<4, flagsPushAck)
	b = binary.BigEndian.AppendUint16(b, window)
	b = append(b, 0, 0, 0, 0, 'x') // no checksum yet, no urgent data
	binary.BigEndian.PutUint16(b[16:], checksum(from.Addr(), to.Addr(), unix.IPPROTO_TCP, b))

	domain := unix.AF_INET6
	local, remote := unix.Sockaddr(&unix.SockaddrInet6{Addr: from.Addr().As16()}), unix.Sockaddr(&unix.SockaddrInet6{Addr: to.Addr().As16()})
	if from.Addr().Is4() {
		domain = unix.AF_INET
		local, remote = &unix.SockaddrInet4{Addr: from.Addr().As4()}, &unix.SockaddrInet4{Addr: to.Addr().As4()}
	}
	fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, local); err != nil {
		return err
	}
	return unix.Sendto(fd, b, 0, remote)
}

// checksum is that of TCP, with the pseudo header (RFC 9293, RFC 8200).
func checksum(from, to netip.Addr, protocol byte, segment []byte) uint16 {
	b := append(from.AsSlice(), to.AsSlice()...)
	b = append(b, 0, protocol)
	b = binary.BigEndian.AppendUint16(b, uint16(len(segment)))
	b = append(b, segment...)
	if len(b)%2 != 0 {
		b = append(b, 0)
	}
	sum := uint32(0)
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
