// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package netdev

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
)

// TestConnections checks that a connection is listed before it is accepted, and no longer
// when both ends have closed it.
func TestConnections(t *testing.T) {
	for name, address := range map[string]string{"IPv4": "127.0.0.1:0", "IPv6": "[::1]:0"} {
		t.Run(name, func(t *testing.T) {
			space := netnstest.New(t)
			var listener net.Listener
			var client net.Conn
			netnstest.Do(t, space, func() (err error) {
				if err = exec.Command("ip", "link", "set", "lo", "up").Run(); err != nil {
					return err
				}
				if listener, err = net.Listen("tcp", address); err != nil {
					return err
				}
				client, err = net.Dial("tcp", listener.Addr().String())
				return err
			})
			defer listener.Close()
			want := Connection{netip.MustParseAddrPort(listener.Addr().String()), netip.MustParseAddrPort(client.LocalAddr().String())}
			has := func() bool {
				t.Helper()
				all, err := Connections(space)
				if err != nil {
					t.Fatal(err)
				}
				return slices.Contains(all, want)
			}
			if !has() {
				t.Error("not listed before it is accepted")
			}
			server, err := listener.Accept()
			if err != nil {
				t.Fatal(err)
			}
			if !has() {
				t.Error("not listed while it is open")
			}
			if err := client.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			back := Connection{want.Remote, want.Local}
			if all, err := Connections(space); err != nil || !slices.Contains(all, want) || !slices.Contains(all, back) {
				t.Errorf("not listed while one end has closed it: %v, %v", all, err)
			}
			for _, end := range []net.Conn{server, client} {
				if err := end.Close(); err != nil {
					t.Error(err)
				}
			}
			if has() {
				t.Error("listed after it was closed")
			}
		})
	}
}

// TestConnectionsInHandshake checks that a connection is listed whose client has not got an answer.
func TestConnectionsInHandshake(t *testing.T) {
	const server, client = "127.0.0.1:8080", "127.0.0.1:40000"
	s := netnstest.NewSpace(t)
	s.Run("nft", "table ip t { chain out { type filter hook output priority 0; tcp sport 8080 drop;\n}\n}")
	s.Do(func() error {
		listener, err := net.Listen("tcp", server)
		if err != nil {
			return err
		}
		t.Cleanup(func() { listener.Close() })
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		t.Cleanup(func() { unix.Close(fd) })
		at := func(text string) *unix.SockaddrInet4 {
			a := netip.MustParseAddrPort(text)
			return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
		}
		if err := unix.Bind(fd, at(client)); err != nil {
			return err
		}
		if err := unix.Connect(fd, at(server)); !errors.Is(err, unix.EINPROGRESS) {
			return fmt.Errorf("connect: %w", err)
		}
		return nil
	})
	want := Connection{netip.MustParseAddrPort(server), netip.MustParseAddrPort(client)}
	if all, err := Connections(s.Handle); err != nil || !slices.Contains(all, want) {
		t.Errorf("%v, %v", all, err)
	}
}
