// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// ports are the local ports of connections from a network namespace, one after the other. So one is used
// again after minutes only: the kernel may choose one whose last connection ended with its Pod, to which
// connection tracking leads a new one for up to two minutes.
type ports struct{ used atomic.Uint32 }

// The kernel's own range, which has no node ports (net.ipv4.ip_local_port_range).
const (
	firstPort = 32768
	numPorts  = 28232
)

// portsOf are those of each network namespace.
var portsOf sync.Map

func portsIn(netNSPath string) *ports {
	p := &ports{}
	p.used.Store(rand.Uint32N(numPorts))
	known, _ := portsOf.LoadOrStore(netNSPath, p)
	return known.(*ports)
}

func (p *ports) next() int { return firstPort + int(p.used.Add(1)%numPorts) }

// dial opens a TCP connection from the next port that is free.
func (p *ports) dial(address string) (conn net.Conn, err error) {
	for range numPorts {
		dialer := net.Dialer{Timeout: dialTime, KeepAlive: -1, LocalAddr: &net.TCPAddr{Port: p.next()}}
		if conn, err = dialer.Dial("tcp", address); !errors.Is(err, unix.EADDRINUSE) {
			break
		}
	}
	return conn, err
}
