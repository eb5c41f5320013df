// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"
	"k8s.io/utils/clock"

	"github.com/fairlead-proxy/fairlead/agent/internal/conntracktest"
	kernel "github.com/fairlead-proxy/fairlead/agent/kernel/conntrack"
	"github.com/fairlead-proxy/fairlead/agent/kernel/netdev"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// kernelOf is the kernel of a network namespace.
func kernelOf(s *conntracktest.Space) Kernel {
	table := kernel.NewTable(int(s.Handle))
	s.T.Cleanup(table.Close)
	return Kernel{Table: table, Addresses: func() ([]netip.Addr, error) { return netdev.AddressesOf(netdev.Namespace(int(s.Handle))) }}
}

// A client that goes on sending meets another endpoint when its own is gone. An
// answer that is under way when the kernel forgets the flow is lost.
func TestPackets(t *testing.T) {
	cases := map[string]struct{ vip, a, b, rule string }{
		"IPv4": {"10.96.0.10:53", "10.1.0.1:5353", "10.1.0.2:5353", "ip daddr 10.96.0.10 udp dport 53 dnat ip to "},
		"IPv6": {"[fd00::10]:53", "[fd00::1]:5353", "[fd00::2]:5353", "ip6 daddr fd00::10 udp dport 53 dnat ip6 to "},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := conntracktest.NewSpace(t)
			s.Serve(tc.a)
			s.Serve(tc.b)
			s.Translate(tc.rule + tc.a)
			c := New(kernelOf(s), &memory{}, logr.Discard(), clock.RealClock{}, func() {})
			before, after := desired(frontend(model.UDP, tc.vip, tc.a)), desired(frontend(model.UDP, tc.vip, tc.b))
			c.Change(model.Diff(model.NewDesired(), before))
			c.Programmed(true)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { defer close(done); c.Run(ctx) }()
			defer func() { cancel(); <-done }()

			conn := s.Dial("udp", tc.vip)
			if got := s.Ask(conn); got != tc.a {
				t.Fatalf("met %s", got)
			}
			s.Translate(tc.rule + tc.b)
			if got := s.Ask(conn); got != tc.a {
				t.Fatalf("met %s: the kernel has asked the rules again, which makes this test void", got)
			}
			c.Change(model.Diff(before, after))
			c.Programmed(false)
			for deadline := time.Now().Add(10 * time.Second); s.Ask(conn) != tc.b; {
				if time.Now().After(deadline) {
					t.Fatal("the flow stays with the endpoint that is gone")
				}
			}
			if err := c.Failure(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A client whose SYN went to an endpoint that is gone reaches a live one with the
// next, which the kernel sends by itself.
func TestConnecting(t *testing.T) {
	const vip, a, b = "10.96.0.10:80", "10.1.0.1:8080", "10.1.0.2:8080"
	s := conntracktest.NewSpace(t)
	s.Accept(b)
	s.Translate("ip daddr 10.96.0.10 tcp dport 80 dnat ip to " + a)
	s.Feed("add chain inet t in { type filter hook input priority 0; }\nadd rule inet t in ip daddr 10.1.0.1 drop", "nft", "-f", "-")
	n := kernelOf(s)
	c := New(n, &memory{}, logr.Discard(), clock.RealClock{}, func() {})
	before, after := desired(frontend(model.TCP, vip, a, b)), desired(frontend(model.TCP, vip, b))
	c.Change(model.Diff(model.NewDesired(), before))
	c.settle(t, true)

	done := make(chan struct{})
	var connected error
	go func() {
		defer close(done)
		s.Do(func() error {
			conn, err := (&net.Dialer{Timeout: 20 * time.Second}).Dial("tcp", vip)
			if connected = err; err == nil {
				return conn.Close()
			}
			return nil
		})
	}()
	unanswered := kernel.Filter{Protocol: unix.IPPROTO_TCP, Unanswered: true}
	for deadline, tried := time.Now().Add(10*time.Second), false; !tried; {
		if err := n.Table.Dump(t.Context(), unanswered, func(kernel.Entry) { tried = true }); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatal("no SYN was sent")
		}
	}
	s.Translate("ip daddr 10.96.0.10 tcp dport 80 dnat ip to " + b)
	c.Change(model.Diff(before, after))
	c.settle(t, false)
	if <-done; connected != nil {
		t.Error(connected)
	}
}
