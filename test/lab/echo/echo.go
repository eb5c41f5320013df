// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package echo is a server that answers with its name and the client's address, over HTTP,
// TCP and UDP: "pod=NAME client=ADDRESS:PORT". Over HTTP it adds "forwarded=ADDRESS" if a proxy says
// for whom it asks (X-Forwarded-For).
package echo

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Server answers with its name.
type Server struct {
	// Name is how the server calls itself.
	Name string
	// HTTP, TCP and UDP are the addresses to listen on, such as :8080.
	HTTP, TCP, UDP []string
}

// Run listens on all addresses and serves until ctx is done.
func (s Server) Run(ctx context.Context) error {
	var open []io.Closer
	defer func() {
		for _, closer := range open {
			closer.Close()
		}
	}()
	var serve []func() error
	for _, address := range s.HTTP {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			return fmt.Errorf("http: %w", err)
		}
		open = append(open, listener)
		serve = append(serve, func() error { return http.Serve(listener, http.HandlerFunc(s.answerHTTP)) })
	}
	for _, address := range s.TCP {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			return fmt.Errorf("tcp: %w", err)
		}
		open = append(open, listener)
		serve = append(serve, func() error { return s.serveTCP(listener) })
	}
	for _, address := range s.UDP {
		conn, err := net.ListenPacket("udp", address)
		if err != nil {
			return fmt.Errorf("udp: %w", err)
		}
		open = append(open, conn)
		serve = append(serve, func() error { return s.serveUDP(conn) })
	}
	failed := make(chan error, len(serve))
	for _, run := range serve {
		go func() { failed <- run() }()
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

func (s Server) answer(client string) string {
	if addr, err := netip.ParseAddrPort(client); err == nil {
		client = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()).String()
	}
	return fmt.Sprintf("pod=%s client=%s\n", s.Name, client)
}

func (s Server) answerHTTP(w http.ResponseWriter, r *http.Request) {
	answer := s.answer(r.RemoteAddr)
	if forwarded := r.Header.Get("X-Forwarded-For"); forwarded != "" {
		answer = fmt.Sprintf("%s forwarded=%s\n", strings.TrimSuffix(answer, "\n"), forwarded)
	}
	_, _ = io.WriteString(w, answer)
}

func (s Server) serveTCP(listener net.Listener) error {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return fmt.Errorf("tcp: %w", err)
		}
		go s.answerLines(conn)
	}
}

// answerLines answers every line, so that a connection can be long and yet be
// seen to be alive.
func (s Server) answerLines(conn net.Conn) {
	defer conn.Close()
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		if _, err := io.WriteString(conn, s.answer(conn.RemoteAddr().String())); err != nil {
			return // the client is gone
		}
	}
}

func (s Server) serveUDP(conn net.PacketConn) error {
	buffer := make([]byte, 64<<10)
	for {
		_, client, err := conn.ReadFrom(buffer)
		if err != nil {
			return fmt.Errorf("udp: %w", err)
		}
		// A client that cannot be answered is no reason to stop.
		_, _ = conn.WriteTo([]byte(s.answer(client.String())), client)
	}
}
