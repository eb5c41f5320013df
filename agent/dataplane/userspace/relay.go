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

// relay moves data between two connections until both sides have closed, or one is reset:
// then the other is reset too. A side that has closed may still get data.
func relay(client, endpoint *net.TCPConn) {
	var other sync.WaitGroup
	other.Go(func() { copyHalf(client, endpoint) })
	copyHalf(endpoint, client)
	other.Wait()
	_, _ = client.Close(), endpoint.Close() // both sides have closed
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

// reset closes a connection with a reset. It may be closed already.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}

// Small amounts of data are copied, because the pipe for a splice costs more than it
// saves. The buffer is small because a writer keeps it while it waits for a slow reader.
const little = 4096

var buffers = sync.Pool{New: func() any { return new([little]byte) }}

// move copies until the end. io.Copy alone would splice, but keep a pipe (two descriptors)
// for as long as the connection is open, or a buffer without splice. So move first waits
// for data: only data in transit takes resources. If the reader is slower than the writer,
// the kernel's buffers fill and the writer has to wait.
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

// await waits until a connection is readable, and returns the number of bytes; 0: the peer
// has closed.
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
			case err == unix.EINTR, n > 0: // data has arrived since
			default:
				return true // end of file
			}
		}
	})
	if waiting != nil {
		return 0, waiting
	}
	return n, err
}
