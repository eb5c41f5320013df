// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package resolve_test

import (
	"fmt"
	"testing"

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
