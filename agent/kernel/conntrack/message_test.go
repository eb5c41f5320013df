// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/internal/conntracktest"
	"github.com/fairlead-proxy/fairlead/agent/kernel/netlink"
)

// shown is an entry as the kernel shows it.
type shown struct {
	protocol         byte
	client, vip, pod string // address and port
	status           uint32
	state            byte // of TCP
	zone, tupleZone  bool
	noID             bool
}

func (s shown) message() netlink.Message {
	var w netlink.Buffer
	tuple := func(kind int, from, to netip.AddrPort, zoned bool) {
		source, destination := nl.CTA_IP_V4_SRC, nl.CTA_IP_V4_DST
		if from.Addr().Is6() {
			source, destination = nl.CTA_IP_V6_SRC, nl.CTA_IP_V6_DST
		}
		outer := w.Nest(kind)
		ip := w.Nest(nl.CTA_TUPLE_IP)
		w.Attr(source, from.Addr().AsSlice())
		w.Attr(destination, to.Addr().AsSlice())
		w.EndNest(ip)
		proto := w.Nest(nl.CTA_TUPLE_PROTO)
		w.Attr(nl.CTA_PROTO_NUM, []byte{s.protocol})
		if from.Port() != 0 {
			w.Attr(nl.CTA_PROTO_SRC_PORT, nl.BEUint16Attr(from.Port()))
			w.Attr(nl.CTA_PROTO_DST_PORT, nl.BEUint16Attr(to.Port()))
		}
		w.EndNest(proto)
		if zoned {
			w.Attr(ctaTupleZone, nl.BEUint16Attr(7))
		}
		w.EndNest(outer)
	}
	client, vip, pod := netip.MustParseAddrPort(s.client), netip.MustParseAddrPort(s.vip), netip.MustParseAddrPort(s.pod)
	w.B = append(w.B, 0, 0, 0, 0) // struct nfgenmsg
	tuple(nl.CTA_TUPLE_ORIG, client, vip, s.tupleZone)
	tuple(nl.CTA_TUPLE_REPLY, pod, client, false)
	w.Number(nl.CTA_STATUS, s.status)
	if s.state != 0 {
		info := w.Nest(nl.CTA_PROTOINFO)
		tcp := w.Nest(nl.CTA_PROTOINFO_TCP)
		w.Attr(nl.CTA_PROTOINFO_TCP_STATE, []byte{s.state})
		w.EndNest(tcp)
		w.EndNest(info)
	}
	if !s.noID {
		w.Number(nl.CTA_ID, 99)
	}
	if s.zone {
		w.Attr(nl.CTA_ZONE, nl.BEUint16Attr(7))
	}
	return netlink.Message{Data: w.B}
}

// TestParse is what becomes of an entry that the kernel shows.
func TestParse(t *testing.T) {
	const client, vip, pod = "10.244.0.9:40000", "10.96.0.10:53", "10.244.0.1:5353"
	const client6, vip6, pod6 = "[fd00::9]:40000", "[fd00:96::10]:53", "[fd00::1]:5353"
	at := netip.MustParseAddrPort
	udp := Entry{Protocol: unix.IPPROTO_UDP, Source: at(client), Destination: at(vip), Endpoint: at(pod), Seen: at(client)}
	tcp := udp
	tcp.Protocol = unix.IPPROTO_TCP
	with := func(e Entry, change func(*Entry)) *Entry { change(&e); return &e }
	unanswered := func(e *Entry) { e.Unanswered = true }
	otherZone := func(e *Entry) { e.OtherZone = true }
	const seen = 1 << 1
	for name, tc := range map[string]struct {
		in   shown
		want *Entry // nil: none
	}{
		"UDP":               {shown{protocol: unix.IPPROTO_UDP, client: client, vip: vip, pod: pod, status: seen}, &udp},
		"UDP without reply": {shown{protocol: unix.IPPROTO_UDP, client: client, vip: vip, pod: pod}, with(udp, unanswered)},
		"IPv6": {shown{protocol: unix.IPPROTO_UDP, client: client6, vip: vip6, pod: pod6, status: seen},
			&Entry{Protocol: unix.IPPROTO_UDP, Source: at(client6), Destination: at(vip6), Endpoint: at(pod6), Seen: at(client6)}},
		"TCP":                                  {shown{protocol: unix.IPPROTO_TCP, client: client, vip: vip, pod: pod, status: seen, state: 3}, &tcp},
		"TCP, a SYN":                           {shown{protocol: unix.IPPROTO_TCP, client: client, vip: vip, pod: pod, state: 1}, with(tcp, unanswered)},
		"TCP, a SYN and its reply":             {shown{protocol: unix.IPPROTO_TCP, client: client, vip: vip, pod: pod, status: seen, state: 2}, &tcp},
		"TCP, picked up in its middle":         {shown{protocol: unix.IPPROTO_TCP, client: client, vip: vip, pod: pod, state: 3}, &tcp},
		"TCP whose state is not shown":         {shown{protocol: unix.IPPROTO_TCP, client: client, vip: vip, pod: pod}, with(tcp, unanswered)},
		"in another zone":                      {shown{protocol: unix.IPPROTO_UDP, client: client, vip: vip, pod: pod, status: seen, zone: true}, with(udp, otherZone)},
		"in another zone, in one direction":    {shown{protocol: unix.IPPROTO_UDP, client: client, vip: vip, pod: pod, status: seen, tupleZone: true}, with(udp, otherZone)},
		"a protocol without ports":             {shown{protocol: unix.IPPROTO_ICMP, client: "10.244.0.9:0", vip: "10.96.0.10:0", pod: "10.244.0.1:0"}, nil},
		"an entry without name":                {shown{protocol: unix.IPPROTO_UDP, client: client, vip: vip, pod: pod, noID: true}, nil},
		"not translated, the kernel's own NAT": {shown{protocol: unix.IPPROTO_UDP, client: client, vip: pod, pod: pod, status: seen}, with(udp, func(e *Entry) { e.Destination = at(pod) })},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := parse(tc.in.message())
			if ok != (tc.want != nil) {
				t.Fatalf("it is one: %v, %+v", ok, got)
			}
			if tc.want == nil {
				return
			}
			if diff := cmp.Diff(*tc.want, got, cmpopts.IgnoreFields(Entry{}, "Name"), cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if (got.Name.Zone != nil) != tc.in.zone || binary.BigEndian.Uint32(got.Name.ID) != 99 {
				t.Errorf("its name is %v", got.Name)
			}
		})
	}
}

// TestEstablish adds the entry of a connection, twice, and reads it back.
func TestEstablish(t *testing.T) {
	for name, ends := range map[string][2]string{
		"IPv4": {"10.244.0.9:40000", "192.0.2.1:80"}, "IPv6": {"[fd00::9]:40000", "[2001:db8::1]:80"},
	} {
		t.Run(name, func(t *testing.T) {
			s := conntracktest.NewSpace(t)
			s.Translate("ct state new accept") // this enables connection tracking
			n, client, local := open(t, s), netip.MustParseAddrPort(ends[0]), netip.MustParseAddrPort(ends[1])
			for range 2 {
				if err := n.Establish(client, local); err != nil {
					t.Fatal(err)
				}
			}
			got, _ := dump(t, n, Filter{V6: client.Addr().Is6(), Protocol: unix.IPPROTO_TCP})
			want := []Entry{{Protocol: unix.IPPROTO_TCP, Source: client, Destination: local, Endpoint: local, Seen: client}}
			for _, packet := range [][2]netip.AddrPort{{client, local}, {local, client}} {
				e, found, err := n.Find(packet[0], packet[1])
				if !found || err != nil {
					t.Fatalf("no entry of packets from %s: %v", packet[0], err)
				}
				got, want = append(got, e), append(want, want[0])
			}
			if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Entry{}, "Name"), cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
				t.Errorf("entries (-want +got):\n%s", diff)
			}
			if e, found, err := n.Find(client, netip.AddrPortFrom(local.Addr(), 81)); found || err != nil {
				t.Errorf("another connection has %+v, %v", e, err)
			}
			request := establishRequest(client, local)
			liberal := netlink.Find(netlink.Find(request[netlink.HeaderLen+4:], nl.CTA_PROTOINFO), nl.CTA_PROTOINFO_TCP)
			for _, direction := range []int{nl.CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, nl.CTA_PROTOINFO_TCP_FLAGS_REPLY} {
				if diff := cmp.Diff([]byte{8, 8}, netlink.Find(liberal, direction)); diff != "" {
					t.Errorf("flags of a direction, whose windows conntrack has not seen (-want +got):\n%s", diff)
				}
			}
		})
	}
}
