// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// What the kernel is told of a connection that is established (IPS_SEEN_REPLY,
// IPS_ASSURED, IPS_CONFIRMED; TCP_CONNTRACK_ESTABLISHED; IP_CT_TCP_FLAG_BE_LIBERAL,
// for it has not seen the windows).
const (
	statusEstablished = 1<<1 | 1<<2 | 1<<3
	tcpEstablished    = 3
	tcpLiberal        = 0x08
)

// establishedFor is how long the kernel remembers such a connection without a
// packet of it. The first one makes that the time of all connections.
const establishedFor = 10 * time.Minute

// Establish tells the kernel of a TCP connection between a client and a process of
// this node, to which no rule of NAT is to be applied any more. Else a kernel that
// begins to track connections would take the next packet of it for a new one.
func (n *Netlink) Establish(client, local netip.AddrPort) error {
	err := n.execute(&n.deleting, establishRequest(client, local), func([]byte) bool { return true })
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("tell connection tracking of the connection of %s to %s: %w", client, local, err)
	}
	return nil
}

func establishRequest(client, local netip.AddrPort) *nl.NetlinkRequest {
	family := byte(unix.AF_INET)
	if local.Addr().Is6() {
		family = unix.AF_INET6
	}
	r := request(nl.IPCTNL_MSG_CT_NEW, unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL, family)
	r.AddData(tcpTuple(nl.CTA_TUPLE_ORIG, client, local))
	r.AddData(tcpTuple(nl.CTA_TUPLE_REPLY, local, client))
	r.AddData(nl.NewRtAttr(nl.CTA_STATUS, nl.BEUint32Attr(statusEstablished)))
	r.AddData(nl.NewRtAttr(nl.CTA_TIMEOUT, nl.BEUint32Attr(uint32(establishedFor.Seconds()))))
	liberal := []byte{tcpLiberal, tcpLiberal} // flags, mask
	r.AddData(nest(nl.CTA_PROTOINFO, nest(nl.CTA_PROTOINFO_TCP,
		nl.NewRtAttr(nl.CTA_PROTOINFO_TCP_STATE, []byte{tcpEstablished}),
		nl.NewRtAttr(nl.CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, liberal),
		nl.NewRtAttr(nl.CTA_PROTOINFO_TCP_FLAGS_REPLY, liberal))))
	return r
}

func tcpTuple(kind int, from, to netip.AddrPort) *nl.RtAttr {
	source, destination := nl.CTA_IP_V4_SRC, nl.CTA_IP_V4_DST
	if from.Addr().Is6() {
		source, destination = nl.CTA_IP_V6_SRC, nl.CTA_IP_V6_DST
	}
	return nest(kind,
		nest(nl.CTA_TUPLE_IP, nl.NewRtAttr(source, from.Addr().AsSlice()), nl.NewRtAttr(destination, to.Addr().AsSlice())),
		nest(nl.CTA_TUPLE_PROTO, nl.NewRtAttr(nl.CTA_PROTO_NUM, []byte{byte(model.TCP)}),
			nl.NewRtAttr(nl.CTA_PROTO_SRC_PORT, nl.BEUint16Attr(from.Port())), nl.NewRtAttr(nl.CTA_PROTO_DST_PORT, nl.BEUint16Attr(to.Port()))))
}
