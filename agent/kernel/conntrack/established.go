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

	"github.com/fairlead-proxy/fairlead/agent/kernel/netlink"
)

// The status of an established connection (IPS_SEEN_REPLY, IPS_ASSURED, IPS_CONFIRMED;
// TCP_CONNTRACK_ESTABLISHED; IP_CT_TCP_FLAG_BE_LIBERAL, because conntrack has not seen its
// windows).
const (
	statusEstablished = 1<<1 | 1<<2 | 1<<3
	tcpEstablished    = 3
	tcpLiberal        = 0x08
)

// establishedFor is how long the kernel keeps such an entry without a packet. The first
// packet sets the timeout of all established connections.
const establishedFor = 10 * time.Minute

// Establish adds an entry for a TCP connection between a client and a process of this
// node, so that no NAT rule applies to it. Without the entry, a kernel that starts to
// track connections would take the next packet as a new connection.
func (t *Table) Establish(client, local netip.AddrPort) error {
	err := t.execute(establishRequest(client, local))
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add a conntrack entry for the connection of %s to %s: %w", client, local, err)
	}
	return nil
}

func establishRequest(client, local netip.AddrPort) []byte {
	w := begin(nl.IPCTNL_MSG_CT_NEW, unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL, local.Addr().Is6())
	putTuple(&w, nl.CTA_TUPLE_ORIG, client, local)
	putTuple(&w, nl.CTA_TUPLE_REPLY, local, client)
	w.Number(nl.CTA_STATUS, statusEstablished)
	w.Number(nl.CTA_TIMEOUT, uint32(establishedFor.Seconds()))
	liberal := []byte{tcpLiberal, tcpLiberal} // flags, mask
	info := w.Nest(nl.CTA_PROTOINFO)
	tcp := w.Nest(nl.CTA_PROTOINFO_TCP)
	w.Attr(nl.CTA_PROTOINFO_TCP_STATE, []byte{tcpEstablished})
	w.Attr(nl.CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, liberal)
	w.Attr(nl.CTA_PROTOINFO_TCP_FLAGS_REPLY, liberal)
	w.EndNest(tcp)
	w.EndNest(info)
	w.End(0)
	return w.B
}

// putTuple appends a direction of a TCP connection.
func putTuple(w *netlink.Buffer, kind int, from, to netip.AddrPort) {
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
	w.Attr(nl.CTA_PROTO_NUM, []byte{unix.IPPROTO_TCP})
	w.Attr(nl.CTA_PROTO_SRC_PORT, nl.BEUint16Attr(from.Port()))
	w.Attr(nl.CTA_PROTO_DST_PORT, nl.BEUint16Attr(to.Port()))
	w.EndNest(proto)
	w.EndNest(outer)
}
