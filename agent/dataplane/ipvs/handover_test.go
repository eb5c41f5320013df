// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Another mode takes over. One connection of 50 servers is left, then none, or its time is
// over. As long as it is open, only its server is checked again.
func TestReleased(t *testing.T) {
	const servers = 50
	for name, end := range map[string]func(*node, *realServer){
		"closed":      func(_ *node, r *realServer) { r.active = 0 },
		"at deadline": func(n *node, _ *realServer) { n.clock.Step(900 * time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			var list []*model.Frontend
			for i := range servers {
				list = append(list, clusterIP(fmt.Sprintf("10.96.0.%d:80", i+1), model.TCP, "10.244.0.1:80"))
			}
			d := desiredOf(list...)
			n.sync(d)
			key := onAddress(list[servers/2].Key)
			left := n.virtual[key].reals[endpoints("10.244.0.1:80")[0]]
			left.active = 1
			for i := range 3 {
				n.calls = 0
				wait, err := n.d.Released(context.Background(), dataplane.NAT, d, n.o)
				if err != nil || wait != releaseInterval {
					t.Fatalf("wait %v, error %v; want a busy one", wait, err)
				}
				if i > 0 && n.calls != 1 {
					t.Errorf("%d calls, want 1", n.calls)
				}
			}
			end(n, left)
			if wait, err := n.d.Released(context.Background(), dataplane.NAT, d, n.o); err != nil || wait != 0 {
				t.Errorf("wait %v, error %v; want released", wait, err)
			}
			left.active = 1
			n.sync(d)
			if wait, err := n.d.Released(context.Background(), dataplane.NAT, d, n.o); err != nil || wait != releaseInterval {
				t.Errorf("wait %v, error %v; want that it was in force again", wait, err)
			}
		})
	}
}
