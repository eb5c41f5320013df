// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/fairlead-proxy/fairlead/agent/internal/desiredtest"
	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Processes of the node get their ports, whatever Services have the same. Everything else
// of the Services is served.
func TestReservedPorts(t *testing.T) {
	n := newTopology(t)
	n.serve("10.244.1.2:8080")
	var all []*model.Frontend
	add := func(address string, protocol model.Protocol, kind model.Kind) {
		f := leading(address, protocol, "10.244.1.2:8080")
		f.Kind, f.Service = kind, model.ServiceID{Namespace: "default", Name: "web"}
		all = append(all, f)
	}
	add("10.96.0.1:80", model.TCP, model.KindClusterIP)
	add("10.96.0.1:10250", model.TCP, model.KindClusterIP)
	add("10.96.0.1:10250", model.UDP, model.KindClusterIP)
	add("10.96.0.1:2379", model.TCP, model.KindClusterIP)
	add("[fd00:96::1]:6443", model.TCP, model.KindClusterIP)
	add("192.0.2.1:22", model.TCP, model.KindLoadBalancer)
	add("192.168.0.2:2380", model.TCP, model.KindLoadBalancer) // an address of the node
	add("192.168.0.2:8080", model.TCP, model.KindLoadBalancer)
	add("0.0.0.0:2379", model.TCP, model.KindNodePort)
	add("0.0.0.0:10256", model.TCP, model.KindNodePort)
	add("0.0.0.0:10272", model.TCP, model.KindNodePort) // also on localhost
	add("0.0.0.0:30001", model.TCP, model.KindNodePort)
	want := desired(all...)
	want.Node.NodePortAddresses = []netip.Addr{netip.MustParseAddr("192.168.0.2")}
	want.Node.NodePortLocalhost = true
	result := n.sync(want)

	reported := map[string]bool{}
	for key := range n.d.frontends {
		n.d.leftOut.Remove(reasonReserved, key)
		if left := n.d.placeSockets(n.d.frontends[key]); left > 0 {
			t.Errorf("%s: %d sockets are opened or closed again", key, left)
		}
	}
	for _, l := range n.d.leftOut.Limitations() {
		reported[string(l.Reason)] = true
	}
	if text := desiredtest.Unsupported(result); len(reported) != 1 || !strings.Contains(text, "ReservedPort 7 ") || !strings.Contains(text, "give it another port") {
		t.Errorf("unsupported:\n%s", text)
	}
	netnstest.Do(t, n.node, func() error {
		for _, at := range []string{":22", ":6443", ":10250", ":10256", "192.168.0.2:2379", "192.168.0.2:2380", "127.0.0.1:2379", "127.0.0.1:10272"} {
			l, err := net.Listen("tcp", at)
			if err != nil {
				return err
			}
			defer l.Close()
		}
		return nil
	})
	for _, to := range []string{"10.96.0.1:80", "10.96.0.1:2379", "192.168.0.2:8080", "192.168.0.2:30001"} {
		if _, _, err := n.ask(n.outside, to); err != nil {
			t.Errorf("%s: %v", to, err)
		}
	}
}

// An address that becomes one of the node loses the sockets on ports of the node.
func TestReservedOnANewAddress(t *testing.T) {
	n := newTopology(t)
	n.serve("10.244.1.2:8080")
	f := leading("192.0.2.9:2379", model.TCP, "10.244.1.2:8080")
	if text := desiredtest.Unsupported(n.sync(desired(f))); text != "" {
		t.Errorf("unsupported: %s", text)
	}
	n.ip(n.node, "addr add 192.0.2.9/32 dev lo")
	if text := desiredtest.Unsupported(n.sync(desired(f))); !strings.HasPrefix(text, "ReservedPort 1 ") || len(n.d.frontends[f.Key].sockets) != 0 {
		t.Errorf("unsupported: %s", text)
	}
	n.ip(n.node, "addr del 192.0.2.9/32 dev lo")
	if text := desiredtest.Unsupported(n.sync(desired(f))); text != "" || len(n.d.frontends[f.Key].sockets) != 1 {
		t.Errorf("unsupported: %s", text)
	}
}
