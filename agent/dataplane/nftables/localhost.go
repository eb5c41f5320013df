// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/dataplane/localhost"
	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// guardName is the name of the table that guards the loopback, see package localhost.
// The comment of the table says what the sysctl was before.
const guardName = "fairlead-localhost"

// guard is the table. Ours are the two variants in guards.
type guard struct {
	*table
	resets bool // the sysctl goes back to 0 with the table
}

// guards returns the variants, by resets.
func guards() map[bool]guard {
	return map[bool]guard{
		true:  {newGuard("fairlead-agent guards the loopback, and set route_localnet, which was 0"), true},
		false: {newGuard("fairlead-agent guards the loopback; route_localnet was 1 before"), false},
	}
}

// newGuard lays out the table. Packets of other machines and of Pods that are for
// our loopback, or pretend to be from it, are dropped before connection tracking
// sees them. What is translated and leaves from the loopback is masqueraded, after
// others could do so; the rest does not leave, as without the sysctl.
func newGuard(comment string) *table {
	const raw, afterSrcnat, loopback, loopbackLink = -300, 101, 127, 1
	t := &table{Table: nft.NewTable(unix.NFPROTO_IPV4, guardName, comment, false)}
	others := func(addr nft.Expr) []nft.Expr {
		return []nft.Expr{
			nft.Input(), nft.Differs(native(loopbackLink)),
			addr, nft.Mask(0, []byte{255, 0, 0, 0}), nft.Equals([]byte{loopback, 0, 0, 0}),
			nft.Drop(),
		}
	}
	leaving := []nft.Expr{
		nft.Output(), nft.Differs(native(loopbackLink)),
		t.Source(0), nft.Mask(0, []byte{255, 0, 0, 0}), nft.Equals([]byte{loopback, 0, 0, 0}),
	}
	t.chains = []*nft.Chain{
		t.NewChain(chainPrerouting, &nft.Hook{Number: unix.NF_INET_PRE_ROUTING, Priority: raw, Filter: true},
			t.NewRule("nobody else reaches the loopback", others(t.Destination(0))...),
			t.NewRule("nobody else is the loopback", others(t.Source(0))...)),
		t.NewChain(chainPostrouting, &nft.Hook{Number: unix.NF_INET_POST_ROUTING, Priority: afterSrcnat},
			t.NewRule("", append(append(leaving[:len(leaving):len(leaving)], nft.Translated()...), nft.Masquerade())...),
			t.NewRule("", append(leaving, nft.Drop())...)),
	}
	return t
}

// localhostChain looks packets to 127.0.0.1 up among the node ports. IPVS cannot
// take them.
func (t *table) localhostChain(s *model.NodeSettings) *nft.Chain {
	if t.V6() || t.layout != balancing || !s.NodePortLocalhost {
		return t.NewChain(chainLocalhost, nil)
	}
	return t.NewChain(chainLocalhost, nil, t.NewRule("node ports on localhost",
		append([]nft.Expr{t.Destination(0), nft.Equals([]byte{127, 0, 0, 1}), nft.Protocol(0), nft.Equals([]byte{byte(model.TCP)})},
			append(t.transportKey(0), nft.VerdictOf(t.verdicts[onNodePort][internal]))...)...))
}

// loopback implements localhost.Guard.
type loopback struct{ nft *nft.Client }

// Read reads the table. One whose comment is not ours counts as one that resets
// nothing.
func (l loopback) Read(ctx context.Context) (localhost.Held, error) {
	var held localhost.Held
	for resets, g := range guards() {
		s := &snapshot{}
		if err := g.readTable(ctx, l.nft, s); err != nil {
			return held, fmt.Errorf("reading %s: %w", g, err)
		}
		held.Exists = s.exists
		if !s.exists {
			return held, nil
		}
		if s.broken != "" {
			continue
		}
		held.Resets = resets
		err := g.readChains(ctx, l.nft, s, g.chains, nil)
		if err != nil {
			return held, fmt.Errorf("reading %s: %w", g, err)
		}
		held.Intact = s.broken == "" && len(s.chains) == len(g.chains)
		for _, c := range g.chains {
			held.Intact = held.Intact && nft.RulesEqual(s.chains[c.Name], c.Rules)
		}
		return held, nil
	}
	return held, nil
}

// Make makes the table.
func (l loopback) Make(ctx context.Context, held localhost.Held, resets bool) (int, error) {
	g, b := guards()[resets], nft.NewBatch()
	g.replace(b, held.Exists)
	for _, c := range g.chains {
		b.AddChain(c)
	}
	return b.Operations(), l.nft.Commit(ctx, b)
}

// Remove deletes the table.
func (l loopback) Remove(ctx context.Context, held localhost.Held) error {
	return l.nft.DeleteTable(ctx, guards()[held.Resets].Table)
}
