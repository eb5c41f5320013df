// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package routelocalnet

import (
	"context"
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
)

// TableName is the name of the nftables table that guards the loopback. The comment of the
// table records what the sysctl was before.
const TableName = "fairlead-localhost"

// Table is the Guard in nftables. It uses the client of its owner.
type Table struct{ client *nft.Client }

var _ Guard = Table{}

// NewTable returns the guard in the client's network namespace.
func NewTable(client *nft.Client) Table { return Table{client} }

// layout describes the table.
type layout struct {
	*nft.Table
	chains []*nft.Chain
}

// layouts returns both variants, by whether the sysctl is set back to 0 with the table.
// Their comments are the same in all versions of Fairlead.
func layouts() map[bool]layout {
	return map[bool]layout{
		true:  newLayout("fairlead-agent guards the loopback, and set route_localnet, which was 0"),
		false: newLayout("fairlead-agent guards the loopback; route_localnet was 1 before"),
	}
}

// newLayout describes a variant. Packets from other machines and from Pods to the
// loopback, or with a source in it, are dropped before connection tracking. Translated
// packets that leave from the loopback are masqueraded, after the rules of others; the
// rest is dropped, as without the sysctl.
func newLayout(comment string) layout {
	const raw, afterSrcnat, loopback, loopbackLink = -300, 101, 127, 1
	t := nft.NewTable(unix.NFPROTO_IPV4, TableName, comment, false)
	of := func(link, addr nft.Expr) []nft.Expr {
		return []nft.Expr{
			link, nft.Differs(native(loopbackLink)),
			addr, nft.Mask(0, []byte{255, 0, 0, 0}), nft.Equals([]byte{loopback, 0, 0, 0}),
		}
	}
	leaving := func(then ...nft.Expr) []nft.Expr { return append(of(nft.Output(), t.Source(0)), then...) }
	return layout{t, []*nft.Chain{
		t.NewChain("prerouting", &nft.Hook{Number: unix.NF_INET_PRE_ROUTING, Priority: raw, Filter: true},
			t.NewRule("drop martian loopback destination", append(of(nft.Input(), t.Destination(0)), nft.Drop())...),
			t.NewRule("drop martian loopback source", append(of(nft.Input(), t.Source(0)), nft.Drop())...)),
		t.NewChain("postrouting", &nft.Hook{Number: unix.NF_INET_POST_ROUTING, Priority: afterSrcnat},
			t.NewRule("", leaving(append(nft.Translated(), nft.Masquerade())...)...),
			t.NewRule("", leaving(nft.Drop())...)),
	}}
}

func native(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

// Read reads the table. A table with an unknown comment does not reset the sysctl.
func (g Table) Read(ctx context.Context) (held Held, err error) {
	for resets, l := range layouts() {
		exists, same, err := nft.ReadTable(ctx, g.client, l.Table)
		if err != nil {
			return held, fmt.Errorf("read %s: %w", l, err)
		}
		held.Exists = exists
		if !same {
			continue
		}
		chains, err := nft.ReadChains(ctx, g.client, l.Table)
		if err != nil {
			return held, fmt.Errorf("read %s: %w", l, err)
		}
		held.Resets, held.Intact = resets, len(chains) == len(l.chains)
		for _, c := range l.chains {
			have, ok := chains[c.Name]
			held.Intact = held.Intact && ok && have.Is(c) && nft.RulesEqual(have.Rules, c.Rules)
		}
		return held, nil
	}
	return held, nil
}

// Make adds the table.
func (g Table) Make(ctx context.Context, held Held, resets bool) (int, error) {
	l, b := layouts()[resets], nft.NewBatch()
	if held.Exists {
		b.DeleteTable(l.Table)
	}
	b.AddTable(l.Table)
	for _, c := range l.chains {
		b.AddChain(c)
	}
	return b.Operations(), g.client.Commit(ctx, b)
}

// Remove deletes the table.
func (g Table) Remove(ctx context.Context, held Held) error {
	return g.client.DeleteTable(ctx, layouts()[held.Resets].Table)
}
