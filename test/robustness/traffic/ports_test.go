// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"net"
	"testing"
)

// TestPorts opens connections one after the other, which the kernel would let use a port again, and beside one
// that holds the next port.
func TestPorts(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	const path = "a namespace of this test"
	held, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	taken := held.Addr().(*net.TCPAddr).Port
	portsIn(path).used.Store(uint32(taken - firstPort - 3))
	seen := map[int]bool{}
	for range 20 {
		conn, err := portsIn(path).dial(server.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		port := conn.LocalAddr().(*net.TCPAddr).Port
		_ = conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
		if seen[port] || port == taken || port < firstPort || port >= firstPort+numPorts {
			t.Errorf("port %d, after %d others", port, len(seen))
		}
		seen[port] = true
	}
}
