// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"encoding/binary"
	"iter"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Attributes of linux/netfilter/nfnetlink_conntrack.h that package nl lacks.
const (
	ctaFilter          = 25 // since Linux 5.8; older ones do not look at it
	ctaStatusMask      = 26 // since Linux 5.18
	ctaFilterOrigFlags = 1
	ctaTupleZone       = 3

	// What of the tuple counts in a filter.
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

func request(kind, flags int, family byte) *nl.NetlinkRequest {
	r := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_CTNETLINK<<8|kind, flags)
	r.AddData(&nl.Nfgenmsg{NfgenFamily: family, Version: nl.NFNETLINK_V0})
	return r
}

// dumpRequest asks for the entries that a filter selects, and a few more where
// the kernel cannot tell.
func dumpRequest(f Filter) *nl.NetlinkRequest {
	family := byte(unix.AF_INET)
	if f.Family == corev1.IPv6Protocol {
		family = unix.AF_INET6
	}
	r := request(nl.IPCTNL_MSG_CT_GET, unix.NLM_F_DUMP, family)
	flags := uint32(filterProtocol)
	addressFlag, addressAttr := uint32(filterDestination), nl.CTA_IP_V4_DST
	portFlag, portAttr := uint32(filterDestinationPort), nl.CTA_PROTO_DST_PORT
	if f.Reverse {
		addressFlag, addressAttr = filterSource, nl.CTA_IP_V4_SRC
		portFlag, portAttr = filterSourcePort, nl.CTA_PROTO_SRC_PORT
	}
	tuple := nest(nl.CTA_TUPLE_ORIG)
	// Of IPv6 only the port: up to Linux 6.18 at least the kernel compares the
	// address the wrong way round, and selects all entries but those of it.
	if f.Address.Is4() {
		flags |= addressFlag
		tuple.AddChild(nest(nl.CTA_TUPLE_IP, nl.NewRtAttr(addressAttr, f.Address.AsSlice())))
	}
	proto := nest(nl.CTA_TUPLE_PROTO, nl.NewRtAttr(nl.CTA_PROTO_NUM, []byte{byte(f.Protocol)}))
	if f.Port != 0 {
		flags |= portFlag
		proto.AddChild(nl.NewRtAttr(portAttr, nl.BEUint16Attr(f.Port)))
	}
	tuple.AddChild(proto)
	r.AddData(tuple)
	r.AddData(nest(ctaFilter, nl.NewRtAttr(ctaFilterOrigFlags, nl.Uint32Attr(flags))))
	if f.Unanswered {
		r.AddData(nl.NewRtAttr(nl.CTA_STATUS, nl.BEUint32Attr(0)))
		r.AddData(nl.NewRtAttr(ctaStatusMask, nl.BEUint32Attr(statusSeenReply)))
	}
	return r
}

func nest(kind int, children ...*nl.RtAttr) *nl.RtAttr {
	a := nl.NewRtAttr(unix.NLA_F_NESTED|kind, nil)
	for _, c := range children {
		a.AddChild(c)
	}
	return a
}

// deleteRequest names an entry as the kernel has named it. The identifier keeps
// a newer entry with the same addresses.
func deleteRequest(e Entry) *nl.NetlinkRequest {
	family := byte(unix.AF_INET)
	if e.Destination.Addr().Is6() {
		family = unix.AF_INET6
	}
	r := request(nl.IPCTNL_MSG_CT_DELETE, unix.NLM_F_ACK, family)
	r.AddData(nl.NewRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_ORIG, e.name.tuple))
	if e.name.zone != nil {
		r.AddData(nl.NewRtAttr(nl.CTA_ZONE, e.name.zone))
	}
	r.AddData(nl.NewRtAttr(nl.CTA_ID, e.name.id))
	return r
}

// parse reads an entry, which refers to b. ok is false for what has no ports.
func parse(b []byte) (e Entry, ok bool) {
	if len(b) < nl.SizeofNfgenmsg {
		return e, false
	}
	var status uint32
	state := byte(tcpSynSent)
	var reply tuple
	for kind, v := range attributes(b[nl.SizeofNfgenmsg:]) {
		switch kind {
		case nl.CTA_TUPLE_ORIG:
			original := parseTuple(v)
			e.Protocol, e.Source, e.Destination, e.name.tuple = original.protocol, original.source(), original.destination(), v
			e.OtherZone = e.OtherZone || original.zoned
		case nl.CTA_TUPLE_REPLY:
			reply = parseTuple(v)
			e.OtherZone = e.OtherZone || reply.zoned
		case nl.CTA_ZONE:
			e.OtherZone, e.name.zone = true, v
		case nl.CTA_ID:
			e.name.id = v
		case nl.CTA_STATUS:
			status = number(v)
		case nl.CTA_PROTOINFO:
			state = tcpState(v, state)
		}
	}
	e.Endpoint = reply.source()
	e.Unanswered = status&statusSeenReply == 0 && (e.Protocol != model.TCP || state == tcpSynSent)
	return e, e.Destination.IsValid() && e.Endpoint.IsValid() && e.name.id != nil
}

// tuple is one direction of a flow.
type tuple struct {
	protocol     model.Protocol
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
	for kind, v := range attributes(b) {
		switch kind {
		case nl.CTA_TUPLE_IP:
			for kind, v := range attributes(v) {
				switch kind {
				case nl.CTA_IP_V4_SRC, nl.CTA_IP_V6_SRC:
					t.src, _ = netip.AddrFromSlice(v) // else not valid
				case nl.CTA_IP_V4_DST, nl.CTA_IP_V6_DST:
					t.dst, _ = netip.AddrFromSlice(v)
				}
			}
		case nl.CTA_TUPLE_PROTO:
			for kind, v := range attributes(v) {
				switch {
				case kind == nl.CTA_PROTO_NUM && len(v) == 1:
					t.protocol = model.Protocol(v[0])
				case kind == nl.CTA_PROTO_SRC_PORT && len(v) == 2:
					t.sport = binary.BigEndian.Uint16(v)
				case kind == nl.CTA_PROTO_DST_PORT && len(v) == 2:
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
	for kind, v := range attributes(b) {
		if kind != nl.CTA_PROTOINFO_TCP {
			continue
		}
		for kind, v := range attributes(v) {
			if kind == nl.CTA_PROTOINFO_TCP_STATE && len(v) == 1 {
				return v[0]
			}
		}
	}
	return otherwise
}

func number(v []byte) uint32 {
	if len(v) != 4 {
		return 0
	}
	return binary.BigEndian.Uint32(v)
}

// attributes yields the attributes in b, without the flags of their types. The
// library's way, which allocates for each, costs more than all the rest.
func attributes(b []byte) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		for len(b) >= unix.SizeofNlAttr {
			length := int(binary.NativeEndian.Uint16(b))
			if length < unix.SizeofNlAttr || length > len(b) {
				return
			}
			kind := binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if !yield(int(kind), b[unix.SizeofNlAttr:length]) {
				return
			}
			b = b[min((length+3)&^3, len(b)):]
		}
	}
}
