// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"fmt"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/dataplane/localhost"
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
	t := &table{family: unix.NFPROTO_IPV4, name: guardName}
	t.describe(comment, 0)
	others := func(d direction) []any {
		return []any{
			&expr.Meta{Key: expr.MetaKeyIIF, Register: 1}, differs(native(loopbackLink)),
			t.addr(d, 0), mask([]byte{255, 0, 0, 0}), equals([]byte{loopback, 0, 0, 0}),
			&expr.Verdict{Kind: expr.VerdictDrop},
		}
	}
	leaving := []any{
		&expr.Meta{Key: expr.MetaKeyOIF, Register: 1}, differs(native(loopbackLink)),
		t.addr(src, 0), mask([]byte{255, 0, 0, 0}), equals([]byte{loopback, 0, 0, 0}),
	}
	t.chains = []*chain{
		t.chain(chainPrerouting, &hook{number: unix.NF_INET_PRE_ROUTING, priority: raw, filters: true},
			t.rule("nobody else reaches the loopback", others(dst)...),
			t.rule("nobody else is the loopback", others(src)...)),
		t.chain(chainPostrouting, &hook{number: unix.NF_INET_POST_ROUTING, priority: afterSrcnat},
			t.rule("", append(append(leaving[:len(leaving):len(leaving)], translated()...), &expr.Masq{FullyRandom: true})...),
			t.rule("", append(leaving, &expr.Verdict{Kind: expr.VerdictDrop})...)),
	}
	return t
}

// localhostChain looks packets to 127.0.0.1 up among the node ports. IPVS cannot
// take them.
func (t *table) localhostChain(s *model.NodeSettings) *chain {
	if t.v6() || t.layout != balancing || !s.NodePortLocalhost {
		return t.chain(chainLocalhost, nil)
	}
	return t.chain(chainLocalhost, nil, t.rule("node ports on localhost",
		append([]any{t.addr(dst, 0), equals([]byte{127, 0, 0, 1}), t.protocol(0), equals([]byte{byte(model.TCP)})},
			append(t.transportKey(0), t.verdict(t.verdicts[onNodePort][internal]))...)...))
}

// loopback implements localhost.Guard.
type loopback struct{ conn *conn }

// Read reads the table. One whose comment is not ours counts as one that resets
// nothing.
func (l loopback) Read(ctx context.Context) (localhost.Held, error) {
	var held localhost.Held
	for resets, g := range guards() {
		s := &snapshot{chains: map[string][]heldRule{}}
		if err := g.readTable(ctx, l.conn, s); err != nil {
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
		err := g.readChains(ctx, l.conn, s, g.chains, nil)
		if err == nil {
			err = g.readRules(ctx, l.conn, s)
		}
		if err != nil {
			return held, fmt.Errorf("reading %s: %w", g, err)
		}
		held.Intact = s.broken == "" && len(s.chains) == len(g.chains)
		for _, c := range g.chains {
			held.Intact = held.Intact && rulesEqual(s.chains[c.name], c.rules)
		}
		return held, nil
	}
	return held, nil
}

// Make makes the table.
func (l loopback) Make(ctx context.Context, held localhost.Held, resets bool) (int, error) {
	g, b := guards()[resets], newBatch()
	g.replace(b, held.Exists)
	for _, c := range g.chains {
		b.addChain(c)
	}
	return b.ops, l.conn.commit(ctx, b)
}

// Remove deletes the table.
func (l loopback) Remove(ctx context.Context, held localhost.Held) error {
	return l.conn.deleteTable(ctx, guards()[held.Resets].table)
}
