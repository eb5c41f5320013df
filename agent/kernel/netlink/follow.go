// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package netlink

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Select makes the socket receive only messages for which a program returns more than 0. The kernel
// runs it before a message takes room in the socket. It replaces the one before in one step.
func (c *Conn) Select(program []bpf.RawInstruction) error {
	if err := c.sock.SetBPF(program); err != nil {
		return fmt.Errorf("filter a netlink socket: %w", err)
	}
	return nil
}

// Follow calls each for messages as they arrive. Behind the first one that it has waited for it lets
// others arrive for a time, so that many of them cost one wake-up. Whenever it has taken all that are
// there, it calls rest, with the number of messages that the kernel has dropped since the socket was opened,
// because there was no room for them. It returns when ctx ends (nil), or on an error of rest or of the socket; then
// the socket can only be closed.
func (c *Conn) Follow(ctx context.Context, gather time.Duration, each func(Message), rest func(dropped uint32) error) error {
	raw, err := c.sock.SyscallConn()
	if err != nil {
		return fmt.Errorf("follow a netlink socket: %w", err)
	}
	// A context for each call of receive would cost more than the call.
	defer context.AfterFunc(ctx, func() { _ = c.sock.SetReadDeadline(time.Unix(1, 0)) })() // fails only if the socket is closed
	for {
		var failed error
		err := raw.Read(func(fd uintptr) bool {
			var any bool
			any, failed = c.take(int(fd), each)
			return any || failed != nil
		})
		if ctx.Err() != nil {
			return nil
		}
		if err = errors.Join(err, failed); err != nil {
			return fmt.Errorf("receive notifications: %w", err)
		}
		time.Sleep(gather)
		var dropped uint32
		err = raw.Read(func(fd uintptr) bool {
			if _, failed = c.take(int(fd), each); failed == nil {
				dropped, failed = droppedBy(int(fd))
			}
			return true
		})
		if ctx.Err() != nil {
			return nil
		}
		if err = errors.Join(err, failed); err != nil {
			return fmt.Errorf("receive notifications: %w", err)
		}
		if err := rest(dropped); err != nil {
			return err
		}
	}
}

// atOnce is how many receives take may do: an endless flood must not keep it from the rest.
const atOnce = 4096

// take receives what is there, and says whether there was anything, or the kernel dropped something.
func (c *Conn) take(fd int, each func(Message)) (any bool, err error) {
	for range atOnce {
		n, err := unix.Read(fd, c.buf)
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
		for m := range Messages(c.buf[:n]) {
			each(m)
		}
	}
	return any, nil
}

// droppedBy returns how many messages the kernel has dropped for want of room.
func droppedBy(fd int) (uint32, error) {
	var info [unix.SK_MEMINFO_VARS]uint32
	size := uint32(unsafe.Sizeof(info))
	if _, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info[0])), uintptr(unsafe.Pointer(&size)), 0); errno != 0 {
		return 0, fmt.Errorf("count what was dropped: %w", errno)
	}
	return info[unix.SK_MEMINFO_DROPS], nil
}
