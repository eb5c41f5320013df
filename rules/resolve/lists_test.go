// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package resolve_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/rules/compile"
	. "github.com/fairlead-proxy/fairlead/rules/internal/rulestest"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// The frontends of a port share one list of endpoints in memory. A list that is resolved
// again and is equal is replaced by the old one, so that a change of one port costs one
// comparison of its list, whatever the number of addresses.
func TestListsAreShared(t *testing.T) {
	const addresses = 20
	service := func() *ServiceBuilder {
		s := Service("web").Port("a", 80).Port("b", 81)
		var external []string
		for i := range addresses {
			external = append(external, fmt.Sprintf("198.18.0.%d", i))
		}
		return s.ExternalIPs(external...)
	}
	endpoints := func(a, b int) []*SliceBuilder {
		return []*SliceBuilder{
			Many(Slice("web").Named("a").Port("a", 8080), a),
			Many(Slice("web").Named("b").Port("b", 8081), b),
		}
	}
	table := resolve.NewTable()
	lists := func() map[string]*model.Endpoint {
		t.Helper()
		out := map[string]*model.Endpoint{}
		frontends := table.Desired().Frontends
		if len(frontends) != 2*(addresses+1) {
			t.Fatalf("%d frontends", len(frontends))
		}
		for _, f := range frontends {
			first := &f.Internal.Endpoints[0]
			if known, ok := out[f.PortName]; ok && known != first || first != &f.External.Endpoints[0] {
				t.Errorf("%s of port %s has a list of its own", f.Key, f.PortName)
			}
			out[f.PortName] = first
		}
		return out
	}
	set(t, table, service(), endpoints(5, 7)...)
	before := lists()
	set(t, table, service(), endpoints(6, 7)...)
	after := lists()
	if before["b"] != after["b"] {
		t.Error("the list of b has not changed, and is another one")
	}
	if before["a"] == after["a"] {
		t.Error("the list of a has changed, and is the same one")
	}
	if got := table.Counts().Endpoints; got != 13 {
		t.Errorf("%d endpoints, want 13", got)
	}
}

// TestEndpointsAreCountedOnce counts endpoints that several ports and policies share.
func TestEndpointsAreCountedOnce(t *testing.T) {
	two := func(first, second int32) *SliceBuilder {
		return Slice("web").Port("a", first).Port("b", second).Ready(L1, Here).Ready(R1, There)
	}
	ports := Service("web").Port("a", 80).Port("b", 81)
	for name, c := range map[string]struct {
		service *ServiceBuilder
		slices  []*SliceBuilder
		want    int
	}{
		"ports with their own targets": {ports, []*SliceBuilder{two(8080, 8081)}, 4},
		"ports with one target":        {ports, []*SliceBuilder{two(8080, 8080)}, 2},
		"targets that differ between endpoints": {ports, []*SliceBuilder{
			two(8080, 8081).Named("old"), Slice("web").Named("new").Port("a", 8081).Ready(R1, There),
		}, 4},
		"local ones of all": {Service("web").Port("a", 80).NodePort(3001).ExternalLocal(), []*SliceBuilder{two(8080, 8081)}, 2},
	} {
		table := resolve.NewTable()
		set(t, table, c.service, c.slices...)
		if got := table.Counts().Endpoints; got != c.want {
			t.Errorf("%s: %d endpoints, want %d", name, got, c.want)
		}
	}
}

// TestManyEndpointsCostNoAllocations checks that endpoints are written to lists that are
// allocated once, however long they are.
func TestManyEndpointsCostNoAllocations(t *testing.T) {
	node := ThisNode().Named("fourth").Node
	allocations := func(endpoints int) float64 {
		in := Input(Service("web").Port("a", 80).Port("b", 81), Many(Slice("web").Port("a", 8080).Port("b", 8081), endpoints))
		parts := Specs(compile.Service(in), corev1.IPv4Protocol)[:1]
		return testing.AllocsPerRun(10, func() {
			if _, err := resolve.Service(node, WebID, parts); err != nil {
				t.Fatal(err)
			}
		})
	}
	if few, many := allocations(10), allocations(150); many > few {
		t.Errorf("%v allocations for 10 endpoints, %v for 150", few, many)
	}
}

// A list that differs only in its middle from the one that it replaces is another one.
func TestMiddleOfAListChanges(t *testing.T) {
	slice := func(middle string) *SliceBuilder {
		return WebSlice().Ready("10.180.1.1", There).Ready(middle, There).Ready("10.180.1.9", There)
	}
	table := resolve.NewTable()
	set(t, table, Web(), slice("10.180.1.2"))
	table.Flush()
	set(t, table, Web(), slice("10.180.1.3"))
	wantChanges(t, table, "172.30.0.41:80/tcp")
	for _, f := range table.Desired().Frontends {
		if got := f.Internal.Endpoints[1].Addr().String(); got != "10.180.1.3" {
			t.Errorf("%s has %s", f.Key, got)
		}
	}
}
