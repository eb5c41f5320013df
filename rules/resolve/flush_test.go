// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package resolve_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/rules/compile"
	. "github.com/fairlead-proxy/fairlead/rules/internal/rulestest"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// TestSlicesAddUp flushes slices of random budgets between random changes. At each moment
// what is programmed is well-formed if the frontends of a port share their endpoints, and
// in the end it is complete.
func TestSlicesAddUp(t *testing.T) {
	for _, share := range []bool{true, false} {
		EverySeed(t, 100, func(t *testing.T, r *Random) { slicesAddUp(t, r, share) })
	}
}

func slicesAddUp(t *testing.T, r *Random, share bool) {
	node := r.Node()
	table, flushed := resolve.NewTable(), model.NewDesired()
	more := false
	slice := func() {
		var d model.Delta
		d, more = table.FlushSlice(1+r.IntN(30), resolve.Costs{Share: share})
		d.Apply(&flushed)
		if err := CheckPorts(flushed); share && err != nil {
			t.Error(err)
		}
		if more && len(d.Frontends) == 0 {
			t.Error("a slice of a table that has more to flush is empty")
		}
	}
	for range 60 {
		id := model.ServiceID{Namespace: "default", Name: Pick(r, "a", "b", "c", "d", "e"), Family: Pick(r, corev1.IPv4Protocol, corev1.IPv6Protocol)}
		resolved := resolve.Result{}
		if r.Chance(80) {
			var err error
			if resolved, err = resolve.Service(node, id, Specs(compile.Service(r.Input(id.Name)), id.Family)); err != nil {
				t.Fatal(err)
			}
		}
		table.Set(id, resolved)
		if r.Chance(60) {
			slice()
		}
	}
	for slices := 0; more || slices == 0; slices++ {
		if slice(); slices > 1000 {
			t.Fatal("there is always more to flush")
		}
	}
	if diff := cmp.Diff(table.Desired(), flushed, ByValue); diff != "" {
		t.Errorf("flushed (-table +flushed):\n%s", diff)
	}
}

// giant returns a Service with many external addresses, ports and endpoints.
func giant(addresses, ports, endpoints int) resolve.Result {
	var list []model.Endpoint
	for i := range endpoints {
		list = append(list, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 80))
	}
	b := model.Backend{Verdict: model.Forward, Masquerade: model.MasqueradeAlways, Endpoints: list}
	if endpoints == 0 {
		b = model.Backend{Verdict: model.Reject}
	}
	var out resolve.Result
	for port := range ports {
		home := model.FrontendKey{Address: Addr("172.30.0.1"), Protocol: model.TCP, Port: uint16(port + 1)}
		add := func(a netip.Addr, kind model.Kind) {
			out.Frontends = append(out.Frontends, model.Frontend{Key: model.FrontendKey{Address: a, Protocol: model.TCP, Port: home.Port}, Kind: kind, PortKey: home,
				Service: model.ServiceID{Namespace: "default", Name: "giant", Family: corev1.IPv4Protocol}, PortName: fmt.Sprint(port), Internal: b, External: b, Ports: model.RoundPorts(ports)})
		}
		add(home.Address, model.KindClusterIP)
		for i := range addresses {
			add(netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), model.KindExternalIP)
		}
	}
	return out
}

// moved returns a giant with other endpoints.
func moved(r resolve.Result) resolve.Result {
	var list []model.Endpoint
	for _, e := range r.Frontends[0].Internal.Endpoints {
		a := e.Addr().As4()
		a[1]++
		list = append(list, netip.AddrPortFrom(netip.AddrFrom4(a), e.Port()))
	}
	for i := range r.Frontends {
		r.Frontends[i].Internal.Endpoints, r.Frontends[i].External.Endpoints = list, list
	}
	return r
}

// small returns a Service with some endpoints.
func small(name string, address string, endpoints int) (model.ServiceID, resolve.Result) {
	r := giant(0, 1, endpoints)
	id := model.ServiceID{Namespace: "default", Name: name, Family: corev1.IPv4Protocol}
	f := &r.Frontends[0]
	f.Key.Address, f.Service = Addr(address), id
	f.PortKey = f.Key
	return id, r
}

// TestSmallServicesGoFirst changes a small Service before each slice, while a giant one is
// added, changed and removed.
func TestSmallServicesGoFirst(t *testing.T) {
	const budget = 1000
	giantID := model.ServiceID{Namespace: "default", Name: "giant", Family: corev1.IPv4Protocol}
	steps := []struct {
		name  string
		giant resolve.Result
		// largest is the largest step: a frontend of the giant. Its endpoints are not
		// shared.
		largest int
	}{
		{"a giant comes", giant(10, 20, 300), 301},
		{"all its ports change", giant(10, 20, 310), 11},
		{"half of its addresses and endpoints go", giant(5, 20, 150), 311},
		{"all its endpoints are replaced", moved(giant(5, 20, 150)), 301},
		{"it goes", resolve.Result{}, 151},
		{"one of many cheap changes comes", giant(100, 20, 0), 1},
	}
	table, flushed, changes := resolve.NewTable(), model.NewDesired(), 0
	for _, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			before := table.Desired()
			table.Set(giantID, step.giant)
			delta := model.Diff(before, table.Desired())
			total := 0
			for _, c := range delta.Frontends {
				total += resolve.CostOf(resolve.Costs{}, c.Old, c.New)
			}
			slices := 0
			for more := true; more; slices++ {
				changes++
				id, resolved := small("small", "172.30.1.1", 1+changes%2)
				table.Set(id, resolved)
				var d model.Delta
				d, more = table.FlushSlice(budget, resolve.Costs{})
				cost, found := 0, false
				for _, c := range d.Frontends {
					cost += resolve.CostOf(resolve.Costs{}, c.Old, c.New)
					found = found || c.New != nil && c.New.Service == id
				}
				if !found {
					t.Fatalf("slice %d has no change of the small Service", slices)
				}
				if cost > budget+step.largest {
					t.Errorf("slice %d costs %d", slices, cost)
				}
				d.Apply(&flushed)
			}
			if most := total/(budget/2) + 2; slices > most || slices < total/(budget+step.largest) {
				t.Errorf("changes that cost %d took %d slices, want at most %d", total, slices, most)
			}
			if diff := cmp.Diff(table.Desired(), flushed, ByValue); diff != "" {
				t.Errorf("flushed (-table +flushed):\n%s", diff)
			}
		})
	}
}

// TestGiantsFinish changes so many other Services before each slice that they use up the
// whole slice.
func TestGiantsFinish(t *testing.T) {
	const budget = 1000
	table := resolve.NewTable()
	table.Set(model.ServiceID{Namespace: "default", Name: "giant", Family: corev1.IPv4Protocol}, giant(10, 10, 20))
	left := len(table.Desired().Frontends)
	for slices := 0; left > 0; slices++ {
		for i := range 20 {
			table.Set(small(fmt.Sprint("small-", i), fmt.Sprintf("172.30.1.%d", i), 100*(1+slices%2)))
		}
		d, _ := table.FlushSlice(budget, resolve.Costs{})
		for _, c := range d.Frontends {
			if c.New.Service.Name == "giant" {
				left--
			}
		}
		if slices > 20 {
			t.Fatalf("%d frontends of the giant are left after %d slices", left, slices)
		}
	}
}

// TestSharedEndpointsCostOnce checks that a giant needs few slices where its endpoints are
// stored once for each port.
func TestSharedEndpointsCostOnce(t *testing.T) {
	slices := map[bool]int{}
	for _, share := range []bool{false, true} {
		table := resolve.NewTable()
		table.Set(model.ServiceID{Namespace: "default", Name: "giant", Family: corev1.IPv4Protocol}, giant(50, 10, 200))
		for more := true; more; slices[share]++ {
			_, more = table.FlushSlice(1000, resolve.Costs{Share: share})
		}
	}
	if slices[false] < 50*10*200/1000 || slices[true] > 10 {
		t.Errorf("%d slices where endpoints are stored once, else %d", slices[true], slices[false])
	}
}

// TestOnlyProgrammedEndpointsCost checks that a giant needs few slices where only some of
// its endpoints are programmed; and that the others count as before.
func TestOnlyProgrammedEndpointsCost(t *testing.T) {
	for name, c := range map[string]struct{ ports, endpoints, slices int }{
		"a giant":     {50, 200, 1}, // 50 ports x (2 frontends + 1000/64)
		"few in each": {50, 10, 1},
		"one port":    {1, 2000, 1},
	} {
		table := resolve.NewTable()
		table.Set(model.ServiceID{Namespace: "default", Name: "giant", Family: corev1.IPv4Protocol}, giant(c.ports, 1, c.endpoints))
		slices := 0
		for more := true; more; slices++ {
			_, more = table.FlushSlice(1500, resolve.Costs{Share: true, MaxEndpoints: 1000})
		}
		if slices != c.slices {
			t.Errorf("%s: %d slices, want %d", name, slices, c.slices)
		}
	}
	table := resolve.NewTable() // 10 ports, 510 frontends that share nothing, each with one of 1000/512 endpoints
	table.Set(model.ServiceID{Namespace: "default", Name: "giant", Family: corev1.IPv4Protocol}, giant(50, 10, 200))
	if _, more := table.FlushSlice(1500, resolve.Costs{MaxEndpoints: 1000}); more {
		t.Error("more than a slice for frontends that share nothing")
	}
}

// TestAddressesGoLast checks that an address is removed only together with the last of the
// changes that wait: frontends that are not flushed yet may need it.
func TestAddressesGoLast(t *testing.T) {
	table := resolve.NewTable()
	id, result := small("small", "172.30.1.1", 1)
	result.LocalEndpoints = []netip.Addr{Addr(L1)}
	table.Set(id, result)
	giantID := model.ServiceID{Namespace: "default", Name: "giant", Family: corev1.IPv4Protocol}
	table.Set(giantID, giant(10, 10, 20))
	table.Flush()

	table.Set(id, resolve.Result{})
	table.Set(giantID, moved(giant(10, 10, 20)))
	for {
		d, more := table.FlushSlice(10, resolve.Costs{})
		removed := len(d.ClusterIPs.Removed) == 1 && len(d.LocalEndpoints.Removed) == 1
		if none := len(d.ClusterIPs.Removed)+len(d.LocalEndpoints.Removed) == 0; more && !none || !more && !removed {
			t.Fatalf("more: %v, and removed are %v and %v", more, d.ClusterIPs.Removed, d.LocalEndpoints.Removed)
		}
		if !more {
			return
		}
	}
}

// TestCostsOfLists checks what a changed list of endpoints costs.
func TestCostsOfLists(t *testing.T) {
	share, rewrite := resolve.Costs{Share: true}, resolve.Costs{Share: true, MaxEndpoints: 64, Rewrite: true}
	list := giant(0, 1, 100).Frontends[0]
	another := moved(giant(0, 1, 100)).Frontends[0]
	short, more := giant(0, 1, 10).Frontends[0], list
	more.Ports = 4 // 16 endpoints each
	sources := list
	sources.Restricted, sources.Sources = true, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	oneMore := giant(0, 1, 101).Frontends[0]
	local := list // clients from outside have one of the endpoints
	local.External.Local, local.External.Endpoints = true, list.Internal.Endpoints[:1]
	for name, c := range map[string]struct {
		costs    resolve.Costs
		old, now *model.Frontend
		want     int
	}{
		"added":                            {share, nil, &list, 101},
		"removed":                          {share, &list, nil, 101},
		"replaced":                         {share, &list, &another, 201},
		"one more":                         {share, &list, &oneMore, 2},
		"other endpoints for outside":      {share, &list, &local, 1 + 99},
		"the same for outside again":       {share, &local, &list, 1 + 99},
		"added, others for outside":        {share, nil, &local, 1 + 100 + 1},
		"a source range":                   {share, &list, &sources, 2},
		"more ports, all endpoints count":  {share, &list, &more, 1},
		"added, some are programmed":       {resolve.Costs{Share: true, MaxEndpoints: 64}, nil, &list, 65},
		"more ports, fewer endpoints each": {resolve.Costs{Share: true, MaxEndpoints: 64}, &list, &more, 49},
		"rewritten: added":                 {rewrite, nil, &list, 65},
		"rewritten: one more":              {rewrite, &list, &oneMore, 65},
		"rewritten: shorter":               {rewrite, &list, &short, 65},
		"rewritten: more ports":            {rewrite, &list, &more, 65},
		"rewritten: a source range":        {rewrite, &list, &sources, 2},
		"rewritten: only other ports":      {rewrite, &short, &short, 1},
	} {
		if got := resolve.CostOf(c.costs, c.old, c.now); got != c.want {
			t.Errorf("%s: costs %d, want %d", name, got, c.want)
		}
	}
}

// TestSourcesCost checks that a source range costs as much as an endpoint.
func TestSourcesCost(t *testing.T) {
	table := resolve.NewTable()
	id, result := small("small", "172.30.1.1", 1)
	result.Frontends[0].Restricted = true
	for i := range 100 {
		result.Frontends[0].Sources = append(result.Frontends[0].Sources, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i)}), 16))
	}
	table.Set(id, result)
	table.Set(small("other", "172.30.1.2", 50))
	if d, more := table.FlushSlice(60, resolve.Costs{}); !more || len(d.Frontends) != 1 || d.Frontends[0].New.Service.Name != "other" {
		t.Errorf("more: %v, %v", more, changes(d))
	}
}

// TestNodeIsFlushedWhole checks that settings of the node are flushed with everything.
func TestNodeIsFlushedWhole(t *testing.T) {
	table := resolve.NewTable()
	table.Set(model.ServiceID{Namespace: "default", Name: "giant", Family: corev1.IPv4Protocol}, giant(10, 10, 10))
	if _, more := table.FlushSlice(10, resolve.Costs{}); !more {
		t.Fatal("a slice has everything")
	}
	table.SetNode(model.NodeSettings{NodePortLocalhost: true})
	if d, more := table.FlushSlice(10, resolve.Costs{}); more || d.Node == nil || len(d.Frontends) < 100 {
		t.Errorf("got %d frontends, more: %v", len(d.Frontends), more)
	}
}

// TestHarmlessChangesCostNothing checks that a change that was reverted is not flushed.
func TestHarmlessChangesCostNothing(t *testing.T) {
	table := resolve.NewTable()
	id, one := small("small", "172.30.1.1", 1)
	_, two := small("small", "172.30.1.1", 2)
	table.Set(id, one)
	table.Flush()
	table.Set(id, two)
	table.Set(id, one)
	if d, more := table.FlushSlice(1, resolve.Costs{}); more || !d.Empty() {
		t.Errorf("got %v, more: %v", d, more)
	}
}
