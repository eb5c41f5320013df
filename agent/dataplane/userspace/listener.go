// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/kernel/netdev"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// place is an address, protocol and port that a socket is bound to.
type place = model.FrontendKey

// listener is a socket that waits for the clients of a frontend.
type listener interface {
	io.Closer
	syscall.Conn

	// keep ends sessions to other endpoints than these.
	keep(serving []model.Endpoint)
	// broken says whether the socket accepts no more clients.
	broken() bool
}

// pause is how long to wait after an error before accepting clients again.
const (
	pauseMin = 5 * time.Millisecond
	pauseMax = time.Second
)

// execTime is more than the start of a program takes on a busy node.
const execTime = 500 * time.Millisecond

// lastClosed is when this process, which may have had other Dataplanes, last closed a
// socket.
var lastClosed atomic.Pointer[time.Time]

// network is the name of a protocol in package net. It names the family, so that an IPv6
// socket does not take IPv4.
func network(at place) string {
	name := at.Protocol.String()
	if at.Address.Is4() {
		return name + "4"
	}
	return name + "6"
}

// prepare sets the options of a socket before it is bound: it may be bound before the
// address is local, and it reports the link that a client's packet arrived by.
func prepare(at place, code []bpf.RawInstruction) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var errs []error
		err := c.Control(func(fd uintptr) {
			level, free, info := unix.SOL_IP, unix.IP_FREEBIND, unix.IP_PKTINFO
			if at.Address.Is6() {
				level, free, info = unix.SOL_IPV6, unix.IPV6_FREEBIND, unix.IPV6_RECVPKTINFO
			}
			errs = append(errs, unix.SetsockoptInt(int(fd), level, free, 1), unix.SetsockoptInt(int(fd), level, info, 1))
			if len(code) > 0 {
				errs = append(errs, attach(int(fd), code))
			}
		})
		return errors.Join(append(errs, err)...)
	}
}

// listen opens a socket for a frontend and serves its clients. The place of one that was just
// closed can still be in use: while a program starts, the child has a copy of each
// descriptor until the end of execve.
func (p *proxy) listen(at place, b *balancer, code []bpf.RawInstruction) (listener, error) {
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		l, err := p.tryListen(at, b, code)
		closed := lastClosed.Load()
		if !errors.Is(err, unix.EADDRINUSE) || closed == nil || time.Since(*closed) > execTime || time.Since(began) > execTime {
			return l, err
		}
	}
}

func (p *proxy) tryListen(at place, b *balancer, code []bpf.RawInstruction) (l listener, err error) {
	if err := p.open.admitSocket(); err != nil {
		return nil, err
	}
	err = netdev.Do(p.netns, func() (err error) {
		config := net.ListenConfig{Control: prepare(at, code), KeepAliveConfig: keepAlive}
		config.SetMultipathTCP(false) // Go's default: it supports neither filters nor IP_PKTINFO
		address := netip.AddrPortFrom(at.Address, at.Port).String()
		if at.Protocol == model.UDP {
			conn, err := config.ListenPacket(context.Background(), network(at), address)
			if err == nil {
				l, err = p.serveUDP(conn.(*net.UDPConn), at, b)
			}
			return err
		}
		conn, err := config.Listen(context.Background(), network(at), address)
		if err == nil {
			l = p.serveTCP(conn.(*net.TCPListener), at, b)
		}
		return err
	})
	if err != nil {
		p.open.releaseSocket()
		return nil, hint(err)
	}
	return l, nil
}

// hint says what to do about an error.
func hint(err error) error {
	if errors.Is(err, unix.EADDRINUSE) {
		return fmt.Errorf("%w: a process of the node uses the port, at this address or at all addresses: let it listen on addresses of the node only, or on another port", err)
	}
	return err
}

// setFilter replaces the filter of a socket.
func setFilter(l listener, code []bpf.RawInstruction) error {
	raw, err := l.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = attach(int(fd), code) })
	return errors.Join(err, failed)
}

// arrival returns the link that a TCP client's connection arrived by, 0 if unknown.
// Accepted sockets inherit the option of the listening one.
func arrival(conn *net.TCPConn) int {
	level, option := unix.SOL_IP, unix.IP_PKTOPTIONS
	if local, ok := conn.LocalAddr().(*net.TCPAddr); ok && local.IP.To4() == nil {
		level, option = unix.SOL_IPV6, unix.IPV6_2292PKTOPTIONS
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0
	}
	var control [64]byte
	size := uint32(len(control))
	var failed unix.Errno
	err = raw.Control(func(fd uintptr) {
		_, _, failed = unix.Syscall6(unix.SYS_GETSOCKOPT, fd, uintptr(level), uintptr(option),
			uintptr(unsafe.Pointer(&control[0])), uintptr(unsafe.Pointer(&size)), 0)
	})
	if err != nil || failed != 0 {
		return 0
	}
	return linkOf(control[:size])
}

// linkOf returns the link in the control messages of a socket (IP_PKTINFO, IPV6_PKTINFO).
func linkOf(control []byte) int {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return 0
	}
	for _, m := range messages {
		switch {
		case m.Header.Level == unix.SOL_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= unix.SizeofInet4Pktinfo:
			return int((*unix.Inet4Pktinfo)(unsafe.Pointer(&m.Data[0])).Ifindex)
		case m.Header.Level == unix.SOL_IPV6 && len(m.Data) >= unix.SizeofInet6Pktinfo:
			return int((*unix.Inet6Pktinfo)(unsafe.Pointer(&m.Data[0])).Ifindex)
		}
	}
	return 0
}
