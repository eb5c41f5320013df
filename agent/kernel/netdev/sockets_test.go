// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package netdev

import (
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"testing"

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
