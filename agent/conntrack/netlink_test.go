// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"

	"github.com/go-logr/logr"

	"github.com/fairlead-proxy/fairlead/rules/flows"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

func (s *space) netlink() *Netlink {
	n := NewNetlink(int(s.Handle))
	s.T.Cleanup(n.Close)
	return n
}

// dump returns what a filter selects, and how many entries the kernel sent for it.
func dump(t *testing.T, n *Netlink, f Filter) (out []Entry, received int) {
	t.Helper()
	before := n.received
	err := n.Dump(t.Context(), f, func(e Entry) {
		e.name = name{bytes.Clone(e.name.tuple), bytes.Clone(e.name.zone), bytes.Clone(e.name.id)}
		out = append(out, e)
	})
	if err != nil {
		t.Fatal(err)
	}
	return out, n.received - before
}

func say(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := c.Write([]byte("?")); err != nil {
		t.Fatal(err)
	}
}

// The kernel itself must filter: a node may track a million flows.
func TestTheKernelFilters(t *testing.T) {
	const vip6, pod6 = "[fd00::10]:53", "[fd00::1]:5353"
	s := newSpace(t)
	s.translate("ip daddr 10.96.0.10 udp dport 53 dnat ip to 10.1.0.1:5353", "ip6 daddr fd00::10 udp dport 53 dnat ip6 to [fd00::1]:5353",
		"ip daddr 10.96.0.10 tcp dport 80 dnat ip to 10.1.0.1:8080", "ip daddr 10.96.0.10 tcp dport 81 dnat ip to 10.1.0.2:8080")
	s.Feed("add chain inet t in { type filter hook input priority 0; }\nadd rule inet t in ip daddr 10.1.0.2 tcp dport 8080 drop", "nft", "-f", "-")
	s.accept("10.1.0.1:8080")
	const few, many = 3, 100
	one := s.dial("udp", "10.96.0.11:54")
	say(t, one)
	source := one.LocalAddr().(*net.UDPAddr).AddrPort()
	for range few {
		say(t, s.dial("udp", "10.96.0.10:53"))
		say(t, s.dial("udp", vip6))
	}
	for range many - 1 {
		say(t, s.dial("udp", "10.96.0.11:54"))
	}
	s.dial("tcp", "10.96.0.10:80")
	s.knock("10.96.0.10:81")

	address := netip.MustParseAddr("10.96.0.10")
	v4, v6 := corev1.IPv4Protocol, corev1.IPv6Protocol
	cases := map[string]struct {
		filter Filter
		want   int
		all    *Entry // what all of them are
	}{
		"an address": {Filter{Family: v4, Protocol: model.UDP, Address: address, Port: 53}, few,
			&Entry{Flow: flows.Flow{Protocol: model.UDP, Destination: netip.MustParseAddrPort("10.96.0.10:53"), Endpoint: netip.MustParseAddrPort("10.1.0.1:5353"), Unanswered: true}}},
		"an address, IPv6": {Filter{Family: v6, Protocol: model.UDP, Address: netip.MustParseAddr("fd00::10"), Port: 53}, few,
			&Entry{Flow: flows.Flow{Protocol: model.UDP, Destination: netip.MustParseAddrPort(vip6), Endpoint: netip.MustParseAddrPort(pod6), Unanswered: true}}},
		"another address, IPv6": {Filter{Family: v6, Protocol: model.UDP, Address: netip.MustParseAddr("fd00::11"), Port: 53}, few, nil}, // see dumpRequest
		"another port of it":    {Filter{Family: v4, Protocol: model.UDP, Address: address, Port: 54}, 0, nil},
		"the other way round":   {Filter{Family: v4, Protocol: model.UDP, Address: address, Port: 53, Reverse: true}, 0, nil},
		"a source":              {Filter{Family: v4, Protocol: model.UDP, Address: source.Addr(), Port: source.Port(), Reverse: true}, 1, nil},
		"a port":                {Filter{Family: v4, Protocol: model.UDP, Port: 54}, many, nil},
		"a protocol":            {Filter{Family: v4, Protocol: model.UDP}, few + many, nil},
		"a protocol, IPv6":      {Filter{Family: v6, Protocol: model.UDP}, few, nil},
		"TCP":                   {Filter{Family: v4, Protocol: model.TCP}, 2, nil},
		"TCP without answer": {Filter{Family: v4, Protocol: model.TCP, Unanswered: true}, 1,
			&Entry{Flow: flows.Flow{Protocol: model.TCP, Destination: netip.MustParseAddrPort("10.96.0.10:81"), Endpoint: netip.MustParseAddrPort("10.1.0.2:8080"), Unanswered: true}}},
		"TCP that is connected": {Filter{Family: v4, Protocol: model.TCP, Address: address, Port: 80}, 1,
			&Entry{Flow: flows.Flow{Protocol: model.TCP, Destination: netip.MustParseAddrPort("10.96.0.10:80"), Endpoint: netip.MustParseAddrPort("10.1.0.1:8080")}}},
	}
	n := s.netlink()
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, received := dump(t, n, tc.filter)
			if len(got) != tc.want || received != tc.want {
				t.Errorf("%d entries, of %d that the kernel sent, want %d", len(got), received, tc.want)
			}
			for _, e := range got {
				if tc.all == nil {
					break
				}
				want := *tc.all
				want.name, want.Source = e.name, e.Source
				if diff := cmp.Diff(want, e, cmp.Comparer(func(a, b Entry) bool { return fmt.Sprint(a) == fmt.Sprint(b) })); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

func TestDeleteIsExact(t *testing.T) {
	for name, zone := range map[string]string{"": "", "in another zone": "add chain inet t raw { type filter hook output priority -300; }\nadd rule inet t raw ct zone set 7"} {
		t.Run(name, func(t *testing.T) {
			s := newSpace(t)
			s.translate("ct state new accept") // which begins the tracking
			s.Feed(zone, "nft", "-f", "-")
			s.serve("10.96.0.10:53")
			n := s.netlink()
			conn := s.dial("udp", "10.96.0.10:53")
			all := Filter{Family: corev1.IPv4Protocol, Protocol: model.UDP}
			ask(t, conn)
			old, _ := dump(t, n, all)
			if len(old) != 1 || old[0].OtherZone != (zone != "") {
				t.Fatalf("%+v", old)
			}
			// The name of an older entry with the same addresses must not hit it. (The
			// kernel makes the identifier of the entry's place in memory, and may use
			// both again: so this is as exact as it can be.)
			other := old[0]
			other.name.id = []byte{^old[0].name.id[0], 1, 2, 3}
			if deleted, err := n.Delete(other); deleted || err != nil {
				t.Fatalf("another entry: %t, %v", deleted, err)
			}
			if deleted, err := n.Delete(old[0]); !deleted || err != nil {
				t.Fatalf("%t, %v", deleted, err)
			}
			if left, _ := dump(t, n, all); len(left) > 0 {
				t.Fatalf("%+v", left)
			}
			if deleted, err := n.Delete(old[0]); deleted || err != nil {
				t.Fatalf("deleted twice: %t, %v", deleted, err)
			}
		})
	}
}

func TestAddresses(t *testing.T) {
	s := newSpace(t)
	s.Run("ip", "address", "add", "192.0.2.7/32", "dev", "lo")
	got, err := s.netlink().Addresses()
	if err != nil || !slices.Contains(got, netip.MustParseAddr("192.0.2.7")) {
		t.Errorf("%v, %v", got, err)
	}
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
			s := newSpace(t)
			s.serve(tc.a)
			s.serve(tc.b)
			s.translate(tc.rule + tc.a)
			c := New(s.netlink(), logr.Discard(), clock.RealClock{}, func() {})
			before, after := desired(frontend(model.UDP, tc.vip, tc.a)), desired(frontend(model.UDP, tc.vip, tc.b))
			c.Change(model.Diff(model.NewDesired(), before))
			c.Programmed(true)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { defer close(done); c.Run(ctx) }()
			defer func() { cancel(); <-done }()

			conn := s.dial("udp", tc.vip)
			if got := ask(t, conn); got != tc.a {
				t.Fatalf("met %s", got)
			}
			s.translate(tc.rule + tc.b)
			if got := ask(t, conn); got != tc.a {
				t.Fatalf("met %s: the kernel has asked the rules again, which makes this test void", got)
			}
			c.Change(model.Diff(before, after))
			c.Programmed(false)
			for deadline := time.Now().Add(10 * time.Second); ask(t, conn) != tc.b; {
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
	s := newSpace(t)
	s.accept(b)
	s.translate("ip daddr 10.96.0.10 tcp dport 80 dnat ip to " + a)
	s.Feed("add chain inet t in { type filter hook input priority 0; }\nadd rule inet t in ip daddr 10.1.0.1 drop", "nft", "-f", "-")
	n := s.netlink()
	c := New(n, logr.Discard(), clock.RealClock{}, func() {})
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
	unanswered := Filter{Family: corev1.IPv4Protocol, Protocol: model.TCP, Unanswered: true}
	for deadline := time.Now().Add(10 * time.Second); ; {
		if tried, _ := dump(t, n, unanswered); len(tried) > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no SYN was sent")
		}
	}
	s.translate("ip daddr 10.96.0.10 tcp dport 80 dnat ip to " + b)
	c.Change(model.Diff(before, after))
	c.settle(t, false)
	if <-done; connected != nil {
		t.Error(connected)
	}
}

func ask(t *testing.T, conn net.Conn) string {
	t.Helper()
	say(t, conn)
	b := make([]byte, 64)
	if err := conn.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
		t.Fatal(err)
	}
	n, err := conn.Read(b)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	return string(b[:n])
}
