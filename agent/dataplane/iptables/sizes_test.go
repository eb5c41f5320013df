// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// addPort adds a port of a Service, with endpoints from a first address on.
func addPort(d *model.Desired, port, endpoints int, first string) {
	b := model.Backend{Verdict: model.Forward, Masquerade: model.MasqueradeUnlessPod}
	for a := netip.MustParseAddr(first); len(b.Endpoints) < endpoints; a = a.Next() {
		b.Endpoints = append(b.Endpoints, netip.AddrPortFrom(a, uint16(8000+port)))
	}
	put(d, "giant", fmt.Sprintf("10.96.9.9:%d/tcp", port), b).PortName = fmt.Sprint("p", port)
	d.ClusterIPs[netip.MustParseAddr("10.96.9.9")] = struct{}{}
}

// ofPorts sets how many ports the giant has.
func ofPorts(d model.Desired, ports int) model.Desired {
	for key, f := range d.Frontends {
		if f.Service.Name == "giant" {
			of := *f
			of.Ports = model.RoundPorts(ports)
			d.Frontends[key] = &of
		}
	}
	return d
}

// giant is a Service with many ports and endpoints, beside another one.
func giant(ports, endpoints int) model.Desired {
	d := several(1, 3)
	for p := range ports {
		addPort(&d, p+1, endpoints, "10.244.0.1")
	}
	return ofPorts(d, ports)
}

// endpointRulesIn counts the rules of a fake kernel that lead to endpoints.
func endpointRulesIn(m *memory) (n int) {
	for _, rules := range m.chains[false] {
		for _, r := range rules {
			if strings.Contains(r, "-j DNAT") {
				n++
			}
		}
	}
	return n
}

// TestGiant checks that a Service is written with a bounded number of rules, whatever its
// size, whether it comes at once or port by port, and that the rest is reported.
func TestGiant(t *testing.T) {
	const ports, endpoints, others = 100, 1000, 3
	const used = ports*32 + others // 4096 / 128
	want := giant(ports, endpoints)
	atOnce := newMemory()
	mustSync(t, inMemory(t, atOnce), want)
	if n := endpointRulesIn(atOnce); n != used {
		t.Errorf("%d rules for endpoints, want %d", n, used)
	}

	m := newMemory()
	d, before := inMemory(t, m), giant(0, 0)
	mustSync(t, d, before)
	var last dataplane.Result
	for p := range ports {
		next := before.Clone()
		addPort(&next, p+1, endpoints, "10.244.0.1")
		next = ofPorts(next, p+1)
		last = mustApply(t, d, model.Diff(before, next))
		if last.Operations > maxEndpoints+2*ports {
			t.Errorf("port %d costs %d operations", p+1, last.Operations)
		}
		if n := endpointRulesIn(m); n > maxEndpoints+others {
			t.Errorf("with %d ports there are %d rules for endpoints", p+1, n)
		}
		before = next
	}
	if diff := cmp.Diff(atOnce.chains, m.chains); diff != "" {
		t.Error("port by port (+) is not as at once (-):", diff)
	}
	if got := last.Unsupported; len(got) != 1 || got[0].Reason != dataplane.ReasonEndpoints || got[0].Count != ports {
		t.Errorf("reported %v", got)
	}

	after := before.Clone()
	addPort(&after, 7, endpoints, "10.244.0.2") // without the first, with another one
	after = ofPorts(after, ports)
	if n := mustApply(t, d, model.Diff(before, after)).Operations; n > 40 {
		t.Errorf("one endpoint costs %d operations", n)
	}
	if n := mustApply(t, d, model.Diff(after, giant(3, 10))).Unsupported; n != nil {
		t.Errorf("reported of a small one: %v", n)
	}
	if n := endpointRulesIn(m); n != 3*10+others {
		t.Errorf("%d rules for endpoints after that", n)
	}
}

// TestStepsOfGiant checks that a Service that comes and goes in steps costs what it costs at
// once: how many endpoints a port uses does not depend on the ports that are there yet.
func TestStepsOfGiant(t *testing.T) {
	const ports, endpoints, inStep = 100, 1000, 10
	none, all := giant(0, 0), giant(ports, endpoints)
	d := inMemory(t, newMemory())
	mustSync(t, d, none)
	atOnce := [2]int{mustApply(t, d, model.Diff(none, all)).Operations, mustApply(t, d, model.Diff(all, none)).Operations}
	for i, change := range []model.Delta{model.Diff(none, all), model.Diff(all, none)} {
		sum := 0
		for step := range slices.Chunk(change.Frontends, inStep) {
			sum += mustApply(t, d, model.Delta{Frontends: step}).Operations
		}
		if most := atOnce[i] + 20*ports/inStep; sum > most { // a chain that leads to ports, in each step
			t.Errorf("%d operations in steps, want %d at most", sum, most)
		}
	}
}

// TestOthersKeepAllEndpoints checks that a port uses all endpoints unless its Service has
// too many, and that one more port does not concern the others.
func TestOthersKeepAllEndpoints(t *testing.T) {
	for name, c := range map[string]struct{ ports, endpoints, used int }{
		"one port":                  {1, maxEndpoints, maxEndpoints},
		"too many":                  {1, maxEndpoints + 1, maxEndpoints},
		"many ports, few endpoints": {300, 8, 300 * 8},
		"more ports than endpoints": {5000, 2, 5000},
	} {
		m := newMemory()
		mustSync(t, inMemory(t, m), giant(c.ports, c.endpoints))
		if n := endpointRulesIn(m) - 3; n != c.used {
			t.Errorf("%s: %d rules, want %d", name, n, c.used)
		}
	}
	d, before := inMemory(t, newMemory()), giant(100, 20)
	mustSync(t, d, before)
	after := giant(101, 20)
	if n := mustApply(t, d, model.Diff(before, after)).Operations; n > 60 {
		t.Errorf("one more port costs %d operations", n)
	}
}

// TestNodesUseOthers checks that nodes choose different endpoints.
func TestNodesUseOthers(t *testing.T) {
	var chosen [][]string
	for _, cidr := range []string{"10.244.1.0/24", "10.244.2.0/24"} {
		m, want := newMemory(), giant(100, 1000)
		want.Node.PodCIDRs = []netip.Prefix{netip.MustParsePrefix(cidr)}
		d := inMemory(t, m)
		mustSync(t, d, want)
		if got := mustSync(t, inMemory(t, m), want); got.Operations != 0 {
			t.Errorf("a new agent on that node: %+v", got)
		}
		chosen = append(chosen, d.families[0].want.rules(chainID{tableNAT, chainFor(prefixTo, at("10.96.9.9:1/tcp"), internal)}))
	}
	if len(chosen[0]) < 32 || slices.Equal(chosen[0], chosen[1]) {
		t.Errorf("both nodes use %v", chosen)
	}
}
