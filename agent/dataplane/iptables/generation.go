// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/nodenet"
)

// generation tells, of the nft variant, whether anybody else has changed the
// ruleset: the kernel counts the commits in a namespace. As long as all of them were
// ours its tables hold what we know they hold, and need not be read, which takes
// seconds of processor time at 10,000 Services.
type generation struct {
	number uint32
	known  bool
}

// after returns the generation when we have committed a number of times since g and
// the kernel says now. If that does not add up, others have committed too.
func (g generation) after(commits int, now generation) generation {
	return generation{now.number, g.known && now.known && now.number == g.number+uint32(commits)}
}

// generation asks for the number of the ruleset's generation. The legacy variant has
// none.
func (t *tools) generation(context.Context) (generation, error) {
	if t.variant != variantNFT {
		return generation{}, nil
	}
	sock, err := nl.GetNetlinkSocketAt(nodenet.Namespace(t.netns), netns.None(), unix.NETLINK_NETFILTER)
	if err != nil {
		return generation{}, fmt.Errorf("asking for the ruleset's generation: %w", err)
	}
	defer sock.Close()
	request := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETGEN, 0)
	request.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_UNSPEC})
	request.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_NETFILTER: {Socket: sock}}
	messages, err := request.Execute(unix.NETLINK_NETFILTER, 0)
	if err != nil {
		return generation{}, fmt.Errorf("asking for the ruleset's generation: %w", err)
	}
	for _, m := range messages {
		attrs, err := nl.ParseRouteAttr(m[nl.SizeofNfgenmsg:])
		if err != nil {
			return generation{}, fmt.Errorf("asking for the ruleset's generation: %w", err)
		}
		for _, a := range attrs {
			if a.Attr.Type == unix.NFTA_GEN_ID && len(a.Value) == 4 {
				return generation{binary.BigEndian.Uint32(a.Value), true}, nil
			}
		}
	}
	return generation{}, errors.New("asking for the ruleset's generation: no answer")
}
