// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/fairlead-proxy/fairlead/test/lab/network"
)

func TestTunnel(t *testing.T) {
	topology := buildNetwork(t, testConfig(t))
	control := topology.Control
	listener, err := network.Listen(control.NetNSPath, net.JoinHostPort(control.IPv4.String(), "6443"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				// Answers after the end of the request: both ways end apart.
				request, _ := io.ReadAll(conn)
				_, _ = conn.Write(append([]byte("got "), request...))
			}()
		}
	}()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	tunnel, err := newTunnel(control.NetNSPath, listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- tunnel.serve(ctx) }()

	conn := dialTunnel(t, tunnel)
	if _, err := io.WriteString(conn, "hello"); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(conn); err != nil || string(answer) != "got hello" {
		t.Errorf("answer %q, %v", answer, err)
	}

	// An open connection does not keep the tunnel from ending.
	open := dialTunnel(t, tunnel)
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	var timeout net.Error
	if _, err := io.ReadAll(open); errors.As(err, &timeout) && timeout.Timeout() {
		t.Error("the connection is still open")
	}
}

func TestTunnelToNowhere(t *testing.T) {
	topology := buildNetwork(t, testConfig(t))
	tunnel, err := newTunnel(topology.Control.NetNSPath, "10.89.0.10:6443")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { _ = tunnel.serve(ctx) }()
	if answer, _ := io.ReadAll(dialTunnel(t, tunnel)); len(answer) > 0 {
		t.Errorf("unexpected answer %q", answer)
	}
}

func dialTunnel(t *testing.T, tunnel *tunnel) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", tunnel.address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn.(*net.TCPConn)
}
