// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"context"

	"github.com/fairlead-proxy/fairlead/agent/kernel/routelocalnet"
)

// loopback implements routelocalnet.Guard in the IPv4 table mangle. It drops packets from
// other machines and from Pods to our loopback, or with a source in it. It also drops
// untranslated packets that leave from the loopback, because they are not masqueraded;
// without the sysctl the kernel drops them as well.
type loopback struct{ kernel *kernel }

const (
	chainGuardIn  = prefix + "LOCALHOST-IN"
	chainGuardOut = prefix + "LOCALHOST-OUT"

	wasOff = `-m comment --comment "route_localnet was 0"` // it is set back with the guard
)

var guardJumps = []jump{
	{tableMangle, "PREROUTING", chainGuardIn},
	{tableMangle, "POSTROUTING", chainGuardOut},
}

func guardChains(resets bool) map[chainID][]string {
	in := "-j DROP"
	if resets {
		in = wasOff + " " + in
	}
	return map[chainID][]string{
		{tableMangle, chainGuardIn}:  {"-d 127.0.0.0/8 ! -i lo " + in, "-s 127.0.0.0/8 ! -i lo " + in},
		{tableMangle, chainGuardOut}: {"-s 127.0.0.0/8 ! -o lo -m conntrack ! --ctstate DNAT -j DROP"},
	}
}

// Read reads the chains. Damaged chains do not reset the sysctl, unless the first one says
// so.
func (l loopback) Read(ctx context.Context) (routelocalnet.Held, error) {
	var held routelocalnet.Held
	have, err := l.read(ctx)
	if err != nil {
		return held, err
	}
	held.Exists = len(have.sums)+len(have.jumps) > 0
	for _, resets := range []bool{false, true} {
		chains := guardChains(resets)
		in := chainID{tableMangle, chainGuardIn}
		if have.sums[in] != sumOf(chains[in]) {
			continue
		}
		held.Resets, held.Intact = resets, len(have.sums) == len(chains)
		for id, rules := range chains {
			held.Intact = held.Intact && have.sums[id] == sumOf(rules)
		}
		for _, j := range guardJumps {
			held.Intact = held.Intact && have.jumps[j] == 1
		}
	}
	return held, nil
}

func (l loopback) read(ctx context.Context) (*held, error) {
	h := newHeld()
	return h, h.read(ctx, *l.kernel, false, tableMangle)
}

// Make writes the chains and the jumps to them.
func (l loopback) Make(ctx context.Context, _ routelocalnet.Held, resets bool) (int, error) {
	have, err := l.read(ctx)
	if err != nil {
		return 0, err
	}
	s := newScript()
	for id, rules := range guardChains(resets) {
		s.write(id, len(rules), func() []string { return rules })
	}
	s.fixJumps(guardJumps, have)
	return s.ops, (*l.kernel).restore(ctx, false, s)
}

// Remove deletes the chains and the jumps.
func (l loopback) Remove(ctx context.Context, _ routelocalnet.Held) error {
	have, err := l.read(ctx)
	if err != nil {
		return err
	}
	return deleteAll(ctx, *l.kernel, false, have)
}
