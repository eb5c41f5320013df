// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/internal/conntracktest"
)

func open(t *testing.T, s *conntracktest.Space) *Table {
	n := NewTable(int(s.Handle))
	t.Cleanup(n.Close)
	return n
}

// dump returns the entries that a filter selects, and how many entries the kernel sent for
// it.
func dump(t *testing.T, n *Table, f Filter) (out []Entry, received int) {
	t.Helper()
	before := n.received
	err := n.Dump(t.Context(), f, func(e Entry) {
		e.Name = Name{bytes.Clone(e.Name.Tuple), bytes.Clone(e.Name.Zone), bytes.Clone(e.Name.ID)}
		out = append(out, e)
	})
	if err != nil {
		t.Fatal(err)
	}
	return out, n.received - before
}

// The kernel itself must filter, because a node may track a million flows.
func TestTheKernelFilters(t *testing.T) {
	const vip6, pod6 = "[fd00::10]:53", "[fd00::1]:5353"
	s := conntracktest.NewSpace(t)
	s.Translate("ip daddr 10.96.0.10 udp dport 53 dnat ip to 10.1.0.1:5353", "ip6 daddr fd00::10 udp dport 53 dnat ip6 to [fd00::1]:5353",
		"ip daddr 10.96.0.10 tcp dport 80 dnat ip to 10.1.0.1:8080", "ip daddr 10.96.0.10 tcp dport 81 dnat ip to 10.1.0.2:8080")
	s.Feed("add chain inet t in { type filter hook input priority 0; }\nadd rule inet t in ip daddr 10.1.0.2 tcp dport 8080 drop", "nft", "-f", "-")
	s.Accept("10.1.0.1:8080")
	const few, many = 3, 100
	one := s.Dial("udp", "10.96.0.11:54")
	s.Say(one)
	source := one.LocalAddr().(*net.UDPAddr).AddrPort()
	for range few {
		s.Say(s.Dial("udp", "10.96.0.10:53"))
		s.Say(s.Dial("udp", vip6))
	}
	for range many - 1 {
		s.Say(s.Dial("udp", "10.96.0.11:54"))
	}
	s.Dial("tcp", "10.96.0.10:80")
	s.Knock("10.96.0.10:81")

	address := netip.MustParseAddr("10.96.0.10")
	cases := map[string]struct {
		filter Filter
		want   int
		all    *Entry // the value of all of them
	}{
		"an address": {Filter{Protocol: unix.IPPROTO_UDP, Address: address, Port: 53}, few,
			&Entry{Protocol: unix.IPPROTO_UDP, Destination: netip.MustParseAddrPort("10.96.0.10:53"), Endpoint: netip.MustParseAddrPort("10.1.0.1:5353"), Unanswered: true}},
		"an address, IPv6": {Filter{V6: true, Protocol: unix.IPPROTO_UDP, Address: netip.MustParseAddr("fd00::10"), Port: 53}, few,
			&Entry{Protocol: unix.IPPROTO_UDP, Destination: netip.MustParseAddrPort(vip6), Endpoint: netip.MustParseAddrPort(pod6), Unanswered: true}},
		"another address, IPv6": {Filter{V6: true, Protocol: unix.IPPROTO_UDP, Address: netip.MustParseAddr("fd00::11"), Port: 53}, few, nil}, // see dumpRequest
		"another port of it":    {Filter{Protocol: unix.IPPROTO_UDP, Address: address, Port: 54}, 0, nil},
		"the other way round":   {Filter{Protocol: unix.IPPROTO_UDP, Address: address, Port: 53, Reverse: true}, 0, nil},
		"a source":              {Filter{Protocol: unix.IPPROTO_UDP, Address: source.Addr(), Port: source.Port(), Reverse: true}, 1, nil},
		"a port":                {Filter{Protocol: unix.IPPROTO_UDP, Port: 54}, many, nil},
		"a protocol":            {Filter{Protocol: unix.IPPROTO_UDP}, few + many, nil},
		"a protocol, IPv6":      {Filter{V6: true, Protocol: unix.IPPROTO_UDP}, few, nil},
		"TCP":                   {Filter{Protocol: unix.IPPROTO_TCP}, 2, nil},
		"TCP without answer": {Filter{Protocol: unix.IPPROTO_TCP, Unanswered: true}, 1,
			&Entry{Protocol: unix.IPPROTO_TCP, Destination: netip.MustParseAddrPort("10.96.0.10:81"), Endpoint: netip.MustParseAddrPort("10.1.0.2:8080"), Unanswered: true}},
		"TCP that is connected": {Filter{Protocol: unix.IPPROTO_TCP, Address: address, Port: 80}, 1,
			&Entry{Protocol: unix.IPPROTO_TCP, Destination: netip.MustParseAddrPort("10.96.0.10:80"), Endpoint: netip.MustParseAddrPort("10.1.0.1:8080")}},
	}
	n := open(t, s)
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
				want.Name, want.Source, want.Seen = e.Name, e.Source, e.Source
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
			s := conntracktest.NewSpace(t)
			s.Translate("ct state new accept") // this enables connection tracking
			s.Feed(zone, "nft", "-f", "-")
			s.Serve("10.96.0.10:53")
			n := open(t, s)
			conn := s.Dial("udp", "10.96.0.10:53")
			all := Filter{Protocol: unix.IPPROTO_UDP}
			s.Ask(conn)
			old, _ := dump(t, n, all)
			if len(old) != 1 || old[0].OtherZone != (zone != "") {
				t.Fatalf("%+v", old)
			}
			// The name of an older entry with the same addresses must not match it. (The
			// kernel derives the identifier from the entry's place in memory, and may use
			// both again: so this is as exact as it can be.)
			other := old[0]
			other.Name.ID = []byte{^old[0].Name.ID[0], 1, 2, 3}
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
