// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nattable

import (
	"errors"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// TestRefusalOnTheNode connects from the node to a virtual address that the node has
// itself, as for IPVS. Then the kernel takes it for the client's address as well, and the
// refusal is a packet to a port of the virtual address that no Service has.
func TestRefusalOnTheNode(t *testing.T) {
	node := newSpace(t)
	node.Feed(`addr add 10.96.0.4/32 dev lo
addr add fd00:96::4/128 dev lo nodad
link add uplink type veth peer name nowhere
addr add 10.0.0.1/24 dev uplink
addr add fd00::1/64 dev uplink nodad
link set uplink up
link set nowhere up
`, "ip", "-batch", "-")
	d, desired := node.tables(Mark()), model.NewDesired()
	refused := model.Backend{Verdict: model.Reject}
	for _, key := range []string{"10.96.0.4:80/tcp", "10.96.0.4:80/udp", "[fd00:96::4]:80/tcp", "[fd00:96::4]:80/udp"} {
		put(&desired, key, refused)
		desired.ClusterIPs[at(key).Address] = struct{}{}
	}
	mustSync(t, d, desired)
	for _, to := range []string{"10.96.0.4:80", "[fd00:96::4]:80", "10.96.0.4:81", "[fd00:96::4]:81"} {
		for _, network := range []string{"tcp", "udp"} {
			if err := node.connect(network, to); !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("%s to %s: %v, want %v", network, to, err, unix.ECONNREFUSED)
			}
		}
	}
	if got := mustSync(t, node.tables(Mark()), desired); got.Operations != 0 {
		t.Errorf("after a restart: %+v", got)
	}
}

// connect sends a first packet from the node, and returns what comes of it.
func (s *space) connect(network, to string) (failed error) {
	s.T.Helper()
	s.Do(func() error {
		var c net.Conn
		if c, failed = (&net.Dialer{Timeout: 30 * time.Second}).Dial(network, to); failed != nil {
			return nil
		}
		defer c.Close()
		if failed = c.SetDeadline(time.Now().Add(30 * time.Second)); failed != nil {
			return nil
		}
		// The kernel may say that it drops the packet (EPERM): the refusal follows.
		if _, failed = c.Write([]byte("?")); failed == nil || errors.Is(failed, unix.EPERM) {
			_, failed = c.Read(make([]byte, 1))
		}
		return nil
	})
	return failed
}
