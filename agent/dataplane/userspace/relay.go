// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"io"
	"net"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// relay moves data between two connections until both sides have ended, or one is
// reset: then so is the other. A side that has ended may still be answered.
func relay(client, endpoint *net.TCPConn) {
	var other sync.WaitGroup
	other.Go(func() { copyHalf(client, endpoint) })
	copyHalf(endpoint, client)
	other.Wait()
	_, _ = client.Close(), endpoint.Close() // both have ended
}

// copyHalf moves the data of one direction.
func copyHalf(to, from *net.TCPConn) {
	err := move(to, from)
	if err == nil {
		err = to.CloseWrite()
	}
	if err != nil {
		reset(to)
		reset(from)
	}
}

// reset ends a connection with a reset. It may have ended already.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}

// A little data is copied, for which the pipe to splice it costs more than it saves.
// Whoever waits for a slow reader keeps his buffer, so it is small.
const little = 4096

var buffers = sync.Pool{New: func() any { return new([little]byte) }}

// move copies until the end. io.Copy alone would splice, but keep a pipe, two
// descriptors more, for as long as the connection is open, and without splice a
// buffer. So it waits until there is something first: only data that is on its
// way takes them. Where the reader is slower than the writer, the kernel's
// buffers fill, and the writer has to wait.
func move(to, from *net.TCPConn) error {
	raw, err := from.SyscallConn()
	if err != nil {
		return err
	}
	for {
		n, err := await(raw)
		if n == 0 || err != nil {
			return err
		}
		if n <= little {
			err = moveLittle(to, from)
		} else {
			_, err = io.CopyN(to, from, int64(n))
		}
		if err != nil {
			return err
		}
	}
}

func moveLittle(to, from *net.TCPConn) error {
	buffer := buffers.Get().(*[little]byte)
	defer buffers.Put(buffer)
	n, err := from.Read(buffer[:])
	if err != nil {
		return err
	}
	_, err = to.Write(buffer[:n])
	return err
}

// await waits until a connection has something to be read, and returns how much;
// 0: it has ended.
func await(raw syscall.RawConn) (n int, err error) {
	waiting := raw.Read(func(fd uintptr) (done bool) {
		for {
			if n, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ); n > 0 || err != nil {
				return true
			}
			var next [1]byte
			n, _, err = unix.Recvfrom(int(fd), next[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
			switch {
			case err == unix.EAGAIN:
				return false
			case err == unix.EINTR, n > 0: // something has come since
			default:
				return true // the end
			}
		}
	})
	if waiting != nil {
		return 0, waiting
	}
	return n, err
}
