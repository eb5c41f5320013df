// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package conntracktest makes network namespaces with flows that the kernel tracks.
package conntracktest

import (
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
)

// Space is a network namespace of a test.
type Space struct{ *netnstest.Space }

// NewSpace makes a network namespace in which every address is reached through the
// loopback; it ends with the test.
func NewSpace(t *testing.T) *Space {
	t.Helper()
	s := &Space{netnstest.NewSpace(t)}
	s.Run("ip", "route", "add", "local", "10.0.0.0/8", "dev", "lo")
	s.Run("ip", "-6", "route", "add", "local", "fd00::/16", "dev", "lo")
	for _, address := range []string{"fd00::1", "fd00::2"} { // to listen on; IPv4 does not need it
		s.Run("ip", "address", "add", address+"/128", "dev", "lo", "nodad")
	}
	return s
}

// Translate adds NAT rules.
func (s *Space) Translate(rules ...string) {
	s.T.Helper()
	s.Feed("flush ruleset\ntable inet t {\nchain c { type nat hook output priority -100;\n"+strings.Join(rules, "\n")+"\n}\n}", "nft", "-f", "-")
}

// Dial opens a flow that is closed with the test.
func (s *Space) Dial(network, to string) (conn net.Conn) {
	s.T.Helper()
	s.Do(func() (err error) {
		conn, err = net.Dial(network, to)
		return err
	})
	s.T.Cleanup(func() { conn.Close() })
	return conn
}

// Knock opens a connection to an address where nothing listens.
func (s *Space) Knock(to string) {
	s.Do(func() error {
		dialer := net.Dialer{Timeout: 50 * time.Millisecond}
		if conn, err := dialer.Dial("tcp", to); err == nil {
			s.T.Errorf("%s answered", to)
			return conn.Close()
		}
		return nil
	})
}

// Serve answers every packet with the server's own address.
func (s *Space) Serve(at string) {
	s.T.Helper()
	s.Do(func() error {
		server, err := net.ListenPacket("udp", at)
		if err != nil {
			return err
		}
		s.T.Cleanup(func() { server.Close() })
		go func() {
			b := make([]byte, 64)
			for {
				_, from, err := server.ReadFrom(b)
				if err != nil {
					return
				}
				if _, err := server.WriteTo([]byte(at), from); err != nil {
					return
				}
			}
		}()
		return nil
	})
}

// Accept listens for TCP connections.
func (s *Space) Accept(at string) {
	s.T.Helper()
	s.Do(func() error {
		server, err := net.Listen("tcp", at)
		if err == nil {
			s.T.Cleanup(func() { server.Close() })
		}
		return err
	})
}

// Say sends a packet on a flow.
func (s *Space) Say(conn net.Conn) {
	s.T.Helper()
	if _, err := conn.Write([]byte("?")); err != nil {
		s.T.Fatal(err)
	}
}

// Ask sends a packet, and returns the answer; empty: there is none within 2 s.
func (s *Space) Ask(conn net.Conn) string {
	s.T.Helper()
	s.Say(conn)
	b := make([]byte, 64)
	if err := conn.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
		s.T.Fatal(err)
	}
	n, err := conn.Read(b)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		s.T.Fatal(err)
	}
	return string(b[:n])
}
