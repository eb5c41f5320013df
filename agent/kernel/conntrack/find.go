// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/kernel/netlink"
)

// Find returns the entry of a TCP connection in the default zone, by the addresses that its
// packets have in one of the two directions.
func (t *Table) Find(from, to netip.AddrPort) (e Entry, found bool, err error) {
	conn, err := t.open(&t.writing)
	if err != nil {
		return Entry{}, false, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), kernelTimeout)
	defer cancel()
	err = conn.Do(ctx, findRequest(from, to), func(m netlink.Message) bool {
		if e, found = parse(m); found {
			e = e.Clone()
		}
		return true
	})
	switch {
	case errors.Is(err, unix.ENOENT):
		return Entry{}, false, nil
	case err != nil:
		closeConn(&t.writing)
		return Entry{}, false, fmt.Errorf("find the conntrack entry of packets from %s to %s: %w", from, to, err)
	}
	return e, found, nil
}

func findRequest(from, to netip.AddrPort) []byte {
	w := begin(nl.IPCTNL_MSG_CT_GET, 0, to.Addr().Is6())
	putTuple(&w, nl.CTA_TUPLE_ORIG, from, to)
	w.End(0)
	return w.B
}
