// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"github.com/google/go-cmp/cmp"
	testclock "k8s.io/utils/clock/testing"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/kernel/sysctl"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// node is a dataplane on a world.
type node struct {
	*world
	t     testing.TB
	clock *testclock.FakeClock
	tree  sysctl.Tree
	d     *Dataplane
	have  model.Desired // what was programmed last
	o     Settings      // to program with
	last  Settings      // of the last Sync
}

func newNode(t testing.TB, own ...string) *node {
	t.Helper()
	n := &node{world: newWorld(), t: t, clock: testclock.NewFakeClock(time.Unix(1e9, 0)), tree: sysctl.Tree{Root: t.TempDir()}, o: defaults()}
	for _, a := range own {
		n.elsewhere[addr(a)] = struct{}{}
	}
	for _, name := range []string{"net/ipv6/conf/all/disable_ipv6", "net/ipv6/conf/kube-ipvs0/disable_ipv6"} {
		n.setSysctl(name, "0")
	}
	for _, p := range append(slices.Clone(parameters), strictARP...) {
		n.setSysctl(p.name, "0")
	}
	n.restart()
	return n
}

func (n *node) setSysctl(name, value string) {
	n.t.Helper()
	path := filepath.Join(n.tree.Root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		n.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(value+"\n"), 0o600); err != nil {
		n.t.Fatal(err)
	}
}

// restart simulates a new agent.
func (n *node) restart() {
	w := n.world
	v := &vips{device: fakeDevice{w}}
	f := &fakeFilter{world: w, addresses: v.own, programmed: map[model.FrontendKey]*model.Frontend{}}
	n.d = assemble(Options{Sysctls: n.tree, Log: testr.NewWithInterface(n.t, testr.Options{})}, n.clock, fakeKernel{w}, v, f)
}

func (n *node) sync(desired model.Desired) dataplane.Result {
	n.t.Helper()
	n.steps, n.calls = nil, 0
	stats, err := n.d.Sync(context.Background(), desired, n.o)
	if err != nil {
		n.t.Fatal("Sync:", err)
	}
	n.have, n.last = desired, n.o
	return stats
}

// apply applies the difference from the last programmed state; other options require a
// Sync.
func (n *node) apply(desired model.Desired) dataplane.Result {
	n.t.Helper()
	if !reflect.DeepEqual(n.o, n.last) {
		return n.sync(desired)
	}
	n.steps, n.calls = nil, 0
	stats, err := n.d.Apply(context.Background(), model.Diff(n.have, desired))
	if err != nil {
		n.t.Fatal("Apply:", err)
	}
	n.have = desired
	return stats
}

// unchanged fails the test if a Sync finds anything to do.
func (n *node) unchanged(desired model.Desired) {
	n.t.Helper()
	if stats := n.sync(desired); stats.Operations+stats.Repaired != 0 {
		n.t.Errorf("another Sync did %+v: %q", stats, n.steps)
	}
}

// connections sets the connections of a real server.
func (n *node) connections(key, endpoint string, active, inactive int) {
	n.t.Helper()
	for k, s := range n.virtual {
		if r := s.reals[netip.MustParseAddrPort(endpoint)]; k.String() == key && r != nil {
			r.active, r.inactive = active, inactive
			return
		}
	}
	n.t.Fatalf("no real server %s of %s", endpoint, key)
}

// expect compares the virtual servers, one per line: the key, the scheduler, other
// settings, and the real servers, with their weight if it is not 1.
func (n *node) expect(want ...string) {
	n.t.Helper()
	var got []string
	for key, s := range n.virtual {
		line := key.String() + " " + s.scheduler
		if s.flags != 0 {
			line += fmt.Sprintf(" flags %#x", s.flags)
		}
		if s.persistence != 0 {
			line += fmt.Sprintf(" persistent %d", s.persistence)
		}
		for _, e := range slices.SortedFunc(maps.Keys(s.reals), model.Endpoint.Compare) {
			line += " " + e.String()
			if w := s.reals[e].weight; w != 1 {
				line += fmt.Sprintf("*%d", w)
			}
		}
		got = append(got, line)
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		n.t.Errorf("virtual servers (-want +got):\n%s", diff)
	}
}

// expectBound compares the addresses on the device, and those that the table rejects,
// which are the same here.
func (n *node) expectBound(want ...string) {
	n.t.Helper()
	for name, set := range map[string]map[netip.Addr]struct{}{"on the device": n.onDevice, "refused": n.refuse} {
		got := []string{}
		for a := range set {
			got = append(got, a.String())
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" && len(want)+len(got) > 0 {
			n.t.Errorf("addresses %s (-want +got):\n%s", name, diff)
		}
	}
}

func (n *node) expectSteps(want ...string) {
	n.t.Helper()
	if diff := cmp.Diff(want, n.steps); diff != "" {
		n.t.Errorf("steps (-want +got):\n%s", diff)
	}
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func endpoints(list ...string) (out []model.Endpoint) {
	for _, e := range list {
		out = append(out, netip.MustParseAddrPort(e))
	}
	return out
}

// nodePort is a frontend for a node port: "30080" or "[::]:30080".
func nodePort(port string, list ...string) *model.Frontend {
	if !strings.Contains(port, ":") {
		port = "0.0.0.0:" + port
	}
	f := clusterIP(port, model.TCP, list...)
	f.Kind = model.KindNodePort
	return f
}

// split gives packets from outside other endpoints.
func split(f *model.Frontend, list ...string) *model.Frontend {
	f.External = model.Backend{Verdict: model.Forward, Masquerade: model.MasqueradeNever, Endpoints: endpoints(list...)}
	return f
}
