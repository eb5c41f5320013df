// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package netlink

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Stream receives notifications, many together. Its socket is not in Go's poller, which would wake the process for each
// message as it arrives. One goroutine uses it at a time, but for Select.
type Stream struct {
	fd  int
	buf []byte
}

// OpenStream opens a Stream of a protocol's multicast groups, in a network namespace as in Open, with a first program
// as in Select.
func OpenStream(netns, protocol int, program []bpf.RawInstruction, groups ...int) (*Stream, error) {
	c, err := Open(netns, protocol)
	if err != nil {
		return nil, err
	}
	s := &Stream{buf: c.buf}
	if s.fd, err = c.copy(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	// This takes the socket out of the poller. The group comes after the program: nothing else is to arrive.
	if err := errors.Join(s.Select(program), c.Join(groups...), c.Close()); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// copy returns another descriptor of the socket.
func (c *Conn) copy() (fd int, err error) {
	raw, err := c.sock.SyscallConn()
	if err == nil {
		var failed error
		err = raw.Control(func(from uintptr) { fd, failed = unix.FcntlInt(from, unix.F_DUPFD_CLOEXEC, 0) })
		err = errors.Join(err, failed)
	}
	if err != nil {
		return 0, fmt.Errorf("copy the descriptor of a netlink socket: %w", err)
	}
	return fd, nil
}

// Close closes the socket.
func (s *Stream) Close() error { return os.NewSyscallError("close", unix.Close(s.fd)) }

// Select makes the socket receive only messages for which a program returns more than 0. The kernel
// runs it before a message takes room in the socket. It replaces the one before in one step.
func (s *Stream) Select(program []bpf.RawInstruction) error {
	p := unix.SockFprog{Len: uint16(len(program)), Filter: (*unix.SockFilter)(unsafe.Pointer(unsafe.SliceData(program)))}
	if err := unix.SetsockoptSockFprog(s.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &p); err != nil {
		return fmt.Errorf("filter a netlink socket: %w", err)
	}
	return nil
}

// Follow looks for messages in intervals, and calls each for them. Whenever it has taken all that are
// there, it calls rest, with the number of messages that the kernel has dropped since the socket was opened,
// because there was no room for them. It returns when ctx ends (nil), or on an error of rest or of the socket; then
// the socket can only be closed.
func (s *Stream) Follow(ctx context.Context, interval time.Duration, each func(Message), rest func(dropped uint32) error) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for ctx.Err() == nil {
		any, err := s.take(each)
		var dropped uint32
		if any && err == nil {
			dropped, err = s.dropped()
		}
		if err != nil {
			return fmt.Errorf("receive notifications: %w", err)
		}
		if any {
			if err := rest(dropped); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
		case <-tick.C: // at once if what was there took longer
		}
	}
	return nil
}

// atOnce is how many receives take may do: an endless flood must not keep it from the rest.
const atOnce = 4096

// take receives what is there, and says whether there was anything, or the kernel dropped something.
func (s *Stream) take(each func(Message)) (any bool, err error) {
	for range atOnce {
		n, err := unix.Read(s.fd, s.buf)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return any, nil
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOBUFS): // rest gets the number
			any = true
			continue
		case err != nil:
			return any, err
		}
		any = true
		for m := range Messages(s.buf[:n]) {
			each(m)
		}
	}
	return any, nil
}

// dropped returns how many messages the kernel has dropped for want of room.
func (s *Stream) dropped() (uint32, error) {
	var info [unix.SK_MEMINFO_VARS]uint32
	size := uint32(unsafe.Sizeof(info))
	if _, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(s.fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info[0])), uintptr(unsafe.Pointer(&size)), 0); errno != 0 {
		return 0, fmt.Errorf("count what was dropped: %w", errno)
	}
	return info[unix.SK_MEMINFO_DROPS], nil
}
