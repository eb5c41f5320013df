// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/go-logr/logr"
	"k8s.io/utils/clock"

	"github.com/fairlead-proxy/fairlead/agent/internal/desiredtest"
	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
	"github.com/fairlead-proxy/fairlead/agent/kernel/netdev"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// countedTable counts the calls of a table.
type countedTable struct {
	table
	reads, writes int
}

func (c *countedTable) routes() (map[route]netip.Addr, error) { c.reads++; return c.table.routes() }
func (c *countedTable) addresses() ([]netdev.Address, error) {
	c.reads++
	return c.table.addresses()
}
func (c *countedTable) links() ([]link, error) { c.reads++; return c.table.links() }
func (c *countedTable) add(r route, source netip.Addr) error {
	c.writes++
	return c.table.add(r, source)
}
func (c *countedTable) remove(r route) error { c.writes++; return c.table.remove(r) }

// The cost of a change does not depend on the number of Services, and one changed endpoint
// makes no system call.
func TestCost(t *testing.T) {
	for _, size := range []int{100, 2000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			space := netnstest.New(t)
			kernel, err := openTable(int(space))
			if err != nil {
				t.Fatal(err)
			}
			table := &countedTable{table: kernel}
			d := newDataplane(Options{NetNS: int(space), Log: logr.Discard(), Connections: NewConnections()}, table, clock.RealClock{})
			defer d.Close()
			want := desired()
			address := netip.MustParseAddr("10.96.0.1")
			for range size {
				f := leading(address.String()+":80", model.TCP, "10.244.1.2:8080")
				want.Frontends[f.Key] = f
				address = address.Next()
			}
			if stats := desiredtest.Sync(t, d, want); stats.Operations != 3*size {
				t.Fatalf("%+v", stats)
			}
			if stats := desiredtest.Sync(t, d, want); stats.Operations+stats.Repaired != 0 {
				t.Errorf("nothing had changed: %+v", stats)
			}
			socket := d.frontends[key("10.96.0.7:80", model.TCP)].sockets[key("10.96.0.7:80", model.TCP)]
			f, other := leading("10.96.0.7:80", model.TCP, "10.244.1.2:8080", "10.244.1.3:8080"), leading(address.String()+":80", model.TCP, "10.244.1.2:8080")
			for name, c := range map[string]struct {
				change             model.Change
				operations, writes int
			}{
				"endpoint": {model.Change{Key: f.Key, Old: want.Frontends[f.Key], New: f}, 1, 0},
				"Service":  {model.Change{Key: other.Key, New: other}, 3, 1},
			} {
				table.reads, table.writes = 0, 0
				stats, err := d.Apply(t.Context(), model.Delta{Frontends: []model.Change{c.change}})
				if err != nil || stats.Operations != c.operations || table.reads != 0 || table.writes != c.writes {
					t.Errorf("%s: %+v, %v; %d reads and %d writes", name, stats, err, table.reads, table.writes)
				}
			}
			if d.frontends[f.Key].sockets[f.Key] != socket {
				t.Error("another endpoint made another socket")
			}
		})
	}
}
