// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"container/list"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/kernel/netdev"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/observation"
)

// udpTimeouts are the times of silence after which a session ends, those of the kernel's
// connection tracking: a flow in both directions becomes a stream with a packet after
// streamAge.
type udpTimeouts struct{ single, stream, streamAge time.Duration }

var defaultUDPTimeouts = udpTimeouts{single: 30 * time.Second, stream: 120 * time.Second, streamAge: 2 * time.Second}

// maxDatagram is the largest datagram.
const maxDatagram = 65535

// datagrams are buffers. They are taken when there is a datagram to read, so an idle
// session has none.
var datagrams = sync.Pool{New: func() any { return new([maxDatagram]byte) }}

// udpListener forwards datagrams for a place to endpoints. Each client has a session,
// which is a socket to an endpoint.
type udpListener struct {
	*net.UDPConn
	*proxy
	*balancer
	at  place
	raw syscall.RawConn

	mu       sync.Mutex
	sessions map[netip.AddrPort]*session
	recent   *list.List                // the sessions, the most recently used first
	recentOf map[netip.Addr]*list.List // and those of each source
	closed   bool
}

// session is the path of a client to an endpoint, and back.
type session struct {
	client   netip.AddrPort
	endpoint model.Endpoint
	conn     *net.UDPConn
	holder   holder

	element, elementOf *list.Element // in recent, and in recentOf

	began, used time.Time
	answered    bool
	stream      bool
	ended       bool
}

// use notes that a datagram arrived. mu is held.
func (l *udpListener) use(s *session) {
	s.used = l.clock.Now()
	s.stream = s.stream || s.answered && s.used.Sub(s.began) > l.udp.streamAge
	if !s.ended {
		l.recent.MoveToFront(s.element)
		l.recentOf[s.holder.source].MoveToFront(s.elementOf)
	}
}

func (p *proxy) serveUDP(conn *net.UDPConn, at place, b *balancer) (*udpListener, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	l := &udpListener{UDPConn: conn, proxy: p, balancer: b, at: at, raw: raw,
		sessions: map[netip.AddrPort]*session{}, recent: list.New(), recentOf: map[netip.Addr]*list.List{}}
	go l.serve()
	return l, nil
}

func (l *udpListener) broken() bool { return false }

// Close also ends all sessions.
func (l *udpListener) Close() error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.keep(nil)
	return l.UDPConn.Close()
}

// keep ends the sessions to other endpoints than these. UDP has no end that the client
// would notice, so its next datagram has to go to another endpoint.
func (l *udpListener) keep(serving []model.Endpoint) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.sessions {
		if _, serves := slices.BinarySearchFunc(serving, s.endpoint, model.Endpoint.Compare); !serves {
			l.end(s)
		}
	}
}

// end ends a session. mu is held.
func (l *udpListener) end(s *session) {
	if s.ended {
		return
	}
	s.ended = true
	delete(l.sessions, s.client)
	l.recent.Remove(s.element)
	of := l.recentOf[s.holder.source]
	if of.Remove(s.elementOf); of.Len() == 0 {
		delete(l.recentOf, s.holder.source)
	}
	_ = s.conn.Close() // this ends its goroutine
	l.open.releaseSession(s.holder)
}

// serve receives the datagrams of all clients.
func (l *udpListener) serve() {
	defer l.open.releaseSocket()
	control := make([]byte, 128)
	for pause := pauseMin; ; {
		err := readable(l.raw)
		if err == nil {
			err = l.take(control)
		}
		switch {
		case err == nil:
			pause = pauseMin
		case errors.Is(err, net.ErrClosed):
			return
		default: // usually an ICMP error, because a client refused a reply
			time.Sleep(pause)
			pause = min(2*pause, pauseMax)
		}
	}
}

// take forwards one datagram to its endpoint. If that fails the datagram is lost, as
// datagrams may be.
func (l *udpListener) take(control []byte) error {
	buffer := datagrams.Get().(*[maxDatagram]byte)
	defer datagrams.Put(buffer)
	n, m, _, from, err := l.ReadMsgUDPAddrPort(buffer[:], control)
	if err != nil {
		return err
	}
	from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
	s := l.session(from, linkOf(control[:m]))
	if s == nil {
		return nil
	}
	if _, err := s.conn.Write(buffer[:n]); err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.end(s) // the endpoint refused an earlier one, or is unreachable
	}
	return nil
}

// session returns a client's session, which may be a new one; nil: it gets none.
func (l *udpListener) session(from netip.AddrPort, link int) *session {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.sessions[from]; s != nil {
		l.use(s)
		return s
	}
	now := l.clock.Now()
	if l.closed {
		return nil
	}
	endpoint, ok := l.choose(client{address: from.Addr(), link: link}, nil)
	holder := newHolder(l.service(), from.Addr())
	if !ok || l.isOurs(place{Address: endpoint.Addr(), Port: endpoint.Port(), Protocol: model.UDP}) || !l.admit(holder) {
		return nil
	}
	s := &session{client: from, endpoint: endpoint, holder: holder, began: now, used: now}
	err := netdev.Do(l.netns, func() error {
		conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(endpoint))
		s.conn = conn
		return err
	})
	if err != nil {
		l.open.releaseSession(holder)
		if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
			l.open.exhausted()
		}
		return nil
	}
	l.push(s)
	l.open.flows.Report(observation.Flow{Protocol: model.UDP, Client: from, Destination: netip.AddrPortFrom(l.at.Address, l.at.Port), Endpoint: endpoint})
	go l.answer(s)
	return s
}

// push adds a session. mu is held.
func (l *udpListener) push(s *session) {
	of := l.recentOf[s.holder.source]
	if of == nil {
		of = list.New()
		l.recentOf[s.holder.source] = of
	}
	l.sessions[s.client], s.element, s.elementOf = s, l.recent.PushFront(s), of.PushFront(s)
}

// admit makes room for a session, if necessary by ending the one that has been silent for
// longest: among all of the frontend, or only among its own for a source that has more than
// the others or than its share. mu is held.
func (l *udpListener) admit(h holder) bool {
	from := l.recent
	of := l.recentOf[h.source]
	if of != nil && of.Len()*len(l.recentOf) > len(l.sessions) {
		from = of
	}
	if len(l.sessions) < l.open.maxSessions() {
		err := l.open.admitSession(h)
		if err == nil {
			return true
		}
		if errors.Is(err, errSource) {
			from = of
		}
	}
	if from == nil || from.Len() == 0 {
		return false
	}
	l.end(from.Back().Value.(*session))
	return l.open.admitSession(h) == nil
}

// answer forwards the replies of an endpoint to the client, from the address that the
// client sent to, until the session ends.
func (l *udpListener) answer(s *session) {
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.end(s)
	}()
	raw, err := s.conn.SyscallConn()
	if err != nil {
		return
	}
	for {
		wait := l.left(s)
		if wait <= 0 || s.conn.SetReadDeadline(time.Now().Add(wait)) != nil {
			return
		}
		err := readable(raw)
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			continue
		}
		if err != nil || l.bring(s) != nil {
			return
		}
	}
}

// left is how long a session may still be silent.
func (l *udpListener) left(s *session) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	timeout := l.udp.single
	if s.stream {
		timeout = l.udp.stream
	}
	return timeout - l.clock.Since(s.used)
}

func (l *udpListener) bring(s *session) error {
	buffer := datagrams.Get().(*[maxDatagram]byte)
	defer datagrams.Put(buffer)
	n, err := s.conn.Read(buffer[:])
	if err != nil {
		return fmt.Errorf("receive from the endpoint: %w", err)
	}
	l.mu.Lock()
	s.answered = true
	l.use(s)
	l.mu.Unlock()
	_, _ = l.WriteToUDPAddrPort(buffer[:n], s.client) // delivery is not guaranteed
	return nil
}

// readable waits until a socket has a datagram, or an error.
func readable(raw syscall.RawConn) (err error) {
	waiting := raw.Read(func(fd uintptr) (done bool) {
		var next [1]byte
		_, _, err = unix.Recvfrom(int(fd), next[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return err != unix.EAGAIN && err != unix.EINTR
	})
	if waiting != nil {
		return waiting
	}
	return err
}
