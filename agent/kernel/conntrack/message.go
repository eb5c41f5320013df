// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"encoding/binary"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/kernel/netlink"
)

// Attributes of linux/netfilter/nfnetlink_conntrack.h that package nl does not define.
const (
	ctaFilter          = 25 // since Linux 5.8; ignored by older kernels
	ctaStatusMask      = 26 // since Linux 5.18
	ctaFilterOrigFlags = 1
	ctaTupleZone       = 3

	// The parts of the tuple that a filter compares.
	filterSource          = 1 << 0
	filterDestination     = 1 << 1
	filterProtocol        = 1 << 3
	filterSourcePort      = 1 << 4
	filterDestinationPort = 1 << 5
)

const (
	statusSeenReply = 1 << 1 // IPS_SEEN_REPLY
	tcpSynSent      = 1      // TCP_CONNTRACK_SYN_SENT
)

// begin starts a request; the caller finishes it with End(0).
func begin(kind, flags int, v6 bool) (w netlink.Buffer) {
	family := byte(unix.AF_INET)
	if v6 {
		family = unix.AF_INET6
	}
	w.Begin(unix.NFNL_SUBSYS_CTNETLINK<<8|kind, family, flags)
	return w
}

// dumpRequest asks for the entries that a filter selects. The kernel returns more where it
// cannot filter.
func dumpRequest(f Filter) []byte {
	w := begin(nl.IPCTNL_MSG_CT_GET, unix.NLM_F_DUMP, f.V6)
	flags := uint32(filterProtocol)
	addressFlag, addressAttr := uint32(filterDestination), nl.CTA_IP_V4_DST
	portFlag, portAttr := uint32(filterDestinationPort), nl.CTA_PROTO_DST_PORT
	if f.Reverse {
		addressFlag, addressAttr = filterSource, nl.CTA_IP_V4_SRC
		portFlag, portAttr = filterSourcePort, nl.CTA_PROTO_SRC_PORT
	}
	tuple := w.Nest(nl.CTA_TUPLE_ORIG)
	// For IPv6 filter by the port only: up to Linux 6.18 at least the kernel compares the
	// address the wrong way round, and selects all entries except those of it.
	if f.Address.Is4() {
		flags |= addressFlag
		ip := w.Nest(nl.CTA_TUPLE_IP)
		w.Attr(addressAttr, f.Address.AsSlice())
		w.EndNest(ip)
	}
	proto := w.Nest(nl.CTA_TUPLE_PROTO)
	w.Attr(nl.CTA_PROTO_NUM, []byte{f.Protocol})
	if f.Port != 0 {
		flags |= portFlag
		w.Attr(portAttr, nl.BEUint16Attr(f.Port))
	}
	w.EndNest(proto)
	w.EndNest(tuple)
	filter := w.Nest(ctaFilter)
	w.Attr(ctaFilterOrigFlags, nl.Uint32Attr(flags))
	w.EndNest(filter)
	if f.Unanswered {
		w.Number(nl.CTA_STATUS, 0)
		w.Number(ctaStatusMask, statusSeenReply)
	}
	w.End(0)
	return w.B
}

// deleteRequest names an entry as the kernel named it. With the identifier, a newer entry
// with the same addresses is kept.
func deleteRequest(e Entry) []byte {
	w := begin(nl.IPCTNL_MSG_CT_DELETE, unix.NLM_F_ACK, e.Destination.Addr().Is6())
	w.Attr(unix.NLA_F_NESTED|nl.CTA_TUPLE_ORIG, e.Name.Tuple)
	if e.Name.Zone != nil {
		w.Attr(nl.CTA_ZONE, e.Name.Zone)
	}
	w.Attr(nl.CTA_ID, e.Name.ID)
	w.End(0)
	return w.B
}

// parse decodes an entry, which refers to m. ok is false for a protocol without ports.
func parse(m netlink.Message) (e Entry, ok bool) {
	attrs, _ := m.Attrs()
	var status uint32
	state := byte(tcpSynSent)
	var reply tuple
	for typ, v := range netlink.Attrs(attrs) {
		switch typ.Number() {
		case nl.CTA_TUPLE_ORIG:
			original := parseTuple(v)
			e.Protocol, e.Source, e.Destination, e.Name.Tuple = original.protocol, original.source(), original.destination(), v
			e.OtherZone = e.OtherZone || original.zoned
		case nl.CTA_TUPLE_REPLY:
			reply = parseTuple(v)
			e.OtherZone = e.OtherZone || reply.zoned
		case nl.CTA_ZONE:
			e.OtherZone, e.Name.Zone = true, v
		case nl.CTA_ID:
			e.Name.ID = v
		case nl.CTA_STATUS:
			status = netlink.Number(v)
		case nl.CTA_PROTOINFO:
			state = tcpState(v, state)
		}
	}
	e.Endpoint, e.Seen = reply.source(), reply.destination()
	e.Unanswered = status&statusSeenReply == 0 && (e.Protocol != unix.IPPROTO_TCP || state == tcpSynSent)
	return e, e.Destination.IsValid() && e.Endpoint.IsValid() && e.Name.ID != nil
}

// tuple is one direction of a flow.
type tuple struct {
	protocol     uint8
	src, dst     netip.Addr
	sport, dport uint16
	zoned        bool
}

func (t tuple) source() netip.AddrPort      { return addrPort(t.src, t.sport) }
func (t tuple) destination() netip.AddrPort { return addrPort(t.dst, t.dport) }

func addrPort(a netip.Addr, port uint16) netip.AddrPort {
	if port == 0 {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a, port)
}

func parseTuple(b []byte) (t tuple) {
	for typ, v := range netlink.Attrs(b) {
		switch typ.Number() {
		case nl.CTA_TUPLE_IP:
			for typ, v := range netlink.Attrs(v) {
				switch typ.Number() {
				case nl.CTA_IP_V4_SRC, nl.CTA_IP_V6_SRC:
					t.src, _ = netip.AddrFromSlice(v) // invalid if it fails
				case nl.CTA_IP_V4_DST, nl.CTA_IP_V6_DST:
					t.dst, _ = netip.AddrFromSlice(v)
				}
			}
		case nl.CTA_TUPLE_PROTO:
			for typ, v := range netlink.Attrs(v) {
				switch {
				case typ.Number() == nl.CTA_PROTO_NUM && len(v) == 1:
					t.protocol = v[0]
				case typ.Number() == nl.CTA_PROTO_SRC_PORT && len(v) == 2:
					t.sport = binary.BigEndian.Uint16(v)
				case typ.Number() == nl.CTA_PROTO_DST_PORT && len(v) == 2:
					t.dport = binary.BigEndian.Uint16(v)
				}
			}
		case ctaTupleZone:
			t.zoned = true
		}
	}
	return t
}

// tcpState returns the state of a TCP connection, otherwise what it was given.
func tcpState(b []byte, otherwise byte) byte {
	for typ, v := range netlink.Attrs(b) {
		if typ.Number() != nl.CTA_PROTOINFO_TCP {
			continue
		}
		for typ, v := range netlink.Attrs(v) {
			if typ.Number() == nl.CTA_PROTOINFO_TCP_STATE && len(v) == 1 {
				return v[0]
			}
		}
	}
	return otherwise
}
