// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"fmt"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/rules"
)

// Node ports on localhost need packets that come from 127.0.0.1 to leave the node,
// until they are masqueraded, and the answers to come in for it. The kernel does
// neither unless route_localnet is 1, which also lets everybody else talk to what
// listens on the loopback (CVE-2020-8558). So there is a table of its own that
// takes care of that, IPv4 only, and it is there whenever we have set the sysctl:
//
//	guard first, then the sysctl, then the rules; and back the other way.
//
// The sysctl is that of all links. Each link that leads to an endpoint would need
// its own, and those to Pods come and go. The comment of the table says what the
// sysctl was before. So it is set back by whoever removes the table, also an agent
// that was started later; unless somebody else has removed the table while no agent
// ran.

const (
	guardName     = "fairlead-localhost"
	routeLocalnet = "net/ipv4/conf/all/route_localnet"
)

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
func (t *table) localhostChain(s *rules.NodeSettings) *chain {
	if t.v6() || t.layout != balancing || !s.NodePortLocalhost {
		return t.chain(chainLocalhost, nil)
	}
	return t.chain(chainLocalhost, nil, t.rule("node ports on localhost",
		append([]any{t.addr(dst, 0), equals([]byte{127, 0, 0, 1}), t.protocol(0), equals([]byte{byte(rules.TCP)})},
			append(t.transportKey(0), t.verdict(t.verdicts[onNodePort][internal]))...)...))
}

// heldGuard is what the kernel holds of the table.
type heldGuard struct {
	exists, intact, resets bool
}

// readGuard reads the table. One whose comment is not ours counts as one that
// resets nothing.
func (d *Dataplane) readGuard(ctx context.Context) (heldGuard, error) {
	var held heldGuard
	for resets, g := range guards() {
		s := &snapshot{chains: map[string][]heldRule{}}
		if err := g.readTable(ctx, d.conn, s); err != nil {
			return held, fmt.Errorf("reading %s: %w", g, err)
		}
		held.exists = s.exists
		if !s.exists {
			return held, nil
		}
		if s.broken != "" {
			continue
		}
		held.resets = resets
		err := g.readChains(ctx, d.conn, s, g.chains, nil)
		if err == nil {
			err = g.readRules(ctx, d.conn, s)
		}
		if err != nil {
			return held, fmt.Errorf("reading %s: %w", g, err)
		}
		held.intact = s.broken == "" && len(s.chains) == len(g.chains)
		for _, c := range g.chains {
			held.intact = held.intact && rulesEqual(s.chains[c.name], c.rules)
		}
		return held, nil
	}
	return held, nil
}

// withLocalhost calls program when node ports can answer on localhost, if they
// shall, and cleans up after it if they shall not. If they cannot, it takes that
// out of the settings.
func (d *Dataplane) withLocalhost(ctx context.Context, s *rules.NodeSettings, program func() (dataplane.Stats, error)) (dataplane.Stats, error) {
	d.lacking = nil
	before, err := d.allowLocalhost(ctx, s)
	if err != nil {
		d.last = nil
		return dataplane.Stats{}, err
	}
	stats, err := program()
	if err != nil {
		return stats, err
	}
	stats.Operations += before
	if d.allowed && s.NodePortLocalhost {
		stats.Repaired += before // it was in force before
	}
	d.allowed = s.NodePortLocalhost
	if !s.NodePortLocalhost {
		after, err := d.forbidLocalhost(ctx)
		if err != nil {
			d.last = nil
			return stats, err
		}
		stats.Operations += after
	}
	stats.Lacking = d.lacking
	return stats, nil
}

// allowLocalhost sets up the guard and the sysctl, and returns the number of
// operations. It is no error if the sysctl cannot be set.
func (d *Dataplane) allowLocalhost(ctx context.Context, s *rules.NodeSettings) (int, error) {
	if !s.NodePortLocalhost {
		return 0, nil
	}
	value, err := d.sysctls.Get(routeLocalnet)
	if err == nil && value != "1" {
		err = d.sysctls.Set(routeLocalnet, value) // is it writable?
	}
	if err != nil {
		s.NodePortLocalhost = false
		d.lack(err)
		return 0, nil
	}
	held, err := d.readGuard(ctx)
	if err != nil {
		return 0, err
	}
	want, ops := guards()[held.resets || value != "1"], 0
	if !held.intact || held.resets != want.resets {
		b := newBatch()
		want.replace(b, held.exists)
		for _, c := range want.chains {
			b.addChain(c)
		}
		if err := d.conn.commit(ctx, b); err != nil {
			return 0, fmt.Errorf("guarding the loopback: %w", err)
		}
		d.noGuard, ops = false, b.ops
	}
	if value == "1" {
		return ops, nil
	}
	if err := d.sysctls.Set(routeLocalnet, "1"); err != nil {
		s.NodePortLocalhost = false
		d.lack(err)
		return ops, nil
	}
	return ops + 1, nil
}

// forbidLocalhost undoes what allowLocalhost has done, once no rule needs it any
// more. If the sysctl cannot be set back, the guard stays.
func (d *Dataplane) forbidLocalhost(ctx context.Context) (int, error) {
	if d.noGuard {
		return 0, nil
	}
	held, err := d.readGuard(ctx)
	if err != nil {
		return 0, err
	}
	ops := 0
	if held.resets {
		value, err := d.sysctls.Get(routeLocalnet)
		if err == nil && value != "0" {
			err = d.sysctls.Set(routeLocalnet, "0")
			ops++
		}
		if err != nil {
			d.lack(err)
			return 0, nil
		}
	}
	if held.exists {
		if err := d.deleteTable(ctx, guards()[held.resets].table); err != nil {
			return ops, err
		}
		ops++
	}
	d.noGuard = true
	return ops, nil
}

func (d *Dataplane) lack(err error) {
	d.lacking = fmt.Errorf("node ports on localhost: %w: let the agent write the machine's /proc/sys/net (--sysctl-root), "+
		"or take Localhost out of nodePort.addresses", err)
}
