// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"context"
	"net"
	"net/netip"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// listen opens a port on all addresses of its family. Where it answers is
// decided at each connection: addresses come and go while a port is open, and
// balancers may ask through a virtual address that is bound to the node later.
func (s *Server) listen(ctx context.Context, port resolve.HealthPort) (net.Listener, error) {
	network := "tcp4"
	if port.Family == corev1.IPv6Protocol {
		network = "tcp6" // of IPv6 only: IPv4 is a port of its own
	}
	config := net.ListenConfig{KeepAlive: -1} // nothing stays open for long
	l, err := config.Listen(ctx, network, net.JoinHostPort(s.bind[port.Family], strconv.Itoa(int(port.Number))))
	if err != nil {
		return nil, err
	}
	return &listener{Listener: l, answers: func(local netip.Addr) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		claims := s.claims[port]
		return len(claims) > 0 && claims[0].AnswersAt(local, s.node)
	}}, nil
}

// listener accepts connections to those local addresses that it must answer on,
// and resets others.
type listener struct {
	net.Listener
	answers func(local netip.Addr) bool
}

// Accept returns the next connection.
func (l *listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		tcp, ok := conn.(*net.TCPConn)
		if !ok || l.answers(localOf(tcp.LocalAddr()).Addr()) {
			return conn, nil
		}
		// Closed with a reset, as if nothing listened. The client may have gone
		// already; the error helps no more.
		_ = tcp.SetLinger(0)
		_ = tcp.Close()
	}
}

// localOf returns the local end of a connection.
func localOf(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	at := tcp.AddrPort()
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}
