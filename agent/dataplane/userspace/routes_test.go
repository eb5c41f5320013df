// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// watch watches until the test ends. It sends to the returned channel when Watch calls
// changed.
func (n *topology) watch() <-chan struct{} {
	n.t.Helper()
	changed := make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	watching := n.d
	go func() {
		done <- watching.Watch(ctx, func() {
			select {
			case changed <- struct{}{}:
			default:
			}
		})
	}()
	n.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			n.t.Error(err)
		}
	})
	eventually(n.t, "it watches", func() bool { return n.d.proxy.open.watched() })
	return changed
}

// watched says whether there is a watcher.
func (c *Connections) watched() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.watchers) > 0
}

func (n *topology) wantRoutes(want ...string) {
	n.t.Helper()
	routes, err := n.d.routing.table.routes()
	if err != nil {
		n.t.Fatal(err)
	}
	var got []string
	for r := range routes {
		got = append(got, r.Prefix.String())
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		n.t.Errorf("routes (-want +got):\n%s", diff)
	}
}

// noted is a table that notes what is changed.
type noted struct {
	table
	steps []string
}

func (n *noted) add(r route, source netip.Addr) error {
	n.steps = append(n.steps, "add "+r.String())
	return n.table.add(r, source)
}

func (n *noted) remove(r route) error {
	n.steps = append(n.steps, "remove "+r.String())
	return n.table.remove(r)
}

// TestGuardsComeLastAndGoFirst checks the order of changes: a process of the node must never meet
// a blackhole route at a virtual address.
func TestGuardsComeLastAndGoFirst(t *testing.T) {
	n := newTopology(t)
	table := &noted{table: n.d.routing.table}
	n.d.routing.table = table
	want := desired()
	for i := range 8 {
		for _, to := range []string{fmt.Sprintf("10.96.0.%d:80", i+1), fmt.Sprintf("[fd00:96::%d]:80", i+1)} {
			f := leading(to, model.TCP, "10.244.1.2:8080")
			want.Frontends[f.Key] = f
		}
	}
	want.Node.ServiceCIDRs = []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("fd00:96::/112")}
	ordered := func(what string, guards ...bool) {
		t.Helper()
		var got []bool
		for _, step := range table.steps {
			if guard := strings.Contains(step, "blackhole"); len(got) == 0 || got[len(got)-1] != guard {
				got = append(got, guard)
			}
		}
		if !slices.Equal(got, guards) {
			t.Errorf("%s: %q", what, table.steps)
		}
		table.steps = nil
	}
	n.sync(want)
	ordered("the first Sync", false, true)
	n.ip(n.node, "route flush table all proto 173")
	n.sync(want)
	ordered("a repair", false, true)
	if _, err := n.d.routing.set(nil); err != nil {
		t.Fatal(err)
	}
	ordered("a release", true, false)
	n.sync(want)
	ordered("another Sync", false, true)
	if err := n.d.Cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
	ordered("Cleanup", true, false)
}

// Routes that others remove are restored, those that others add with our protocol number
// are removed, and both are counted. Our own changes cause no notification.
func TestDrift(t *testing.T) {
	n := newTopology(t)
	want := desired(leading("10.96.0.1:80", model.TCP, "10.244.1.2:8080"), leading("[fd00:96::1]:80", model.TCP, "[fd00:244::2]:8080"))
	want.Node.ServiceCIDRs = []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("fd00:96::/112")}
	changed := n.watch()
	n.sync(want)
	all := []string{"10.96.0.1/32", "fd00:96::1/128", "10.96.0.0/16", "fd00:96::/112"}
	n.wantRoutes(all...)
	for name, c := range map[string]struct {
		lines string
		want  int
	}{
		"an address":           {"route del local 10.96.0.1/32 table local", 1},
		"an address of IPv6":   {"route del local fd00:96::1/128 dev lo table local", 1},
		"a range":              {"route del blackhole 10.96.0.0/16", 1},
		"all":                  {"route flush table all proto 173", 4},
		"one too many":         {"route add local 10.96.0.7/32 dev lo table local proto 173", 1},
		"routes of others":     {"route add 10.97.0.0/16 dev pod0", 0},
		"others' in the table": {"route add local 10.98.0.1/32 dev lo table local proto 99", 0},
	} {
		t.Run(name, func(t *testing.T) {
			n.ip(n.node, c.lines)
			if c.want > 0 {
				<-changed
			}
			if stats := n.sync(want); stats.Repaired != c.want || stats.Operations != c.want {
				t.Errorf("%+v, want %d", stats, c.want)
			}
			n.wantRoutes(all...)
		})
	}
	if stats := n.sync(want); stats.Operations+stats.Repaired != 0 {
		t.Errorf("nothing had changed: %+v", stats)
	}
	select {
	case <-changed:
		if stats := n.sync(want); stats.Operations+stats.Repaired != 0 {
			t.Errorf("notified: %+v", stats)
		}
	default:
	}
}

// Our own changes of routes cause no notification, and neither do routes of others.
func TestRouteNotifications(t *testing.T) {
	n := newTopology(t)
	n.sync(desired(leading("10.96.0.1:80", model.TCP, "10.244.1.2:8080")))
	notified := func(kind uint16, address string, change func(*netlink.Route)) bool {
		r := n.d.routing.table.(*kernelTable).asRoute(routeTo(netip.MustParseAddr(address)))
		if change != nil {
			change(r)
		}
		return n.d.routing.isExternalRoute(netlink.RouteUpdate{Type: kind, Route: *r})
	}
	for name, c := range map[string]struct{ got, want bool }{
		"ours came":             {notified(unix.RTM_NEWROUTE, "10.96.0.1", nil), false},
		"ours went":             {notified(unix.RTM_DELROUTE, "10.96.0.1", nil), true},
		"another one came":      {notified(unix.RTM_NEWROUTE, "10.96.0.2", nil), true},
		"another one went":      {notified(unix.RTM_DELROUTE, "10.96.0.2", nil), false},
		"others' came":          {notified(unix.RTM_NEWROUTE, "10.96.0.2", func(r *netlink.Route) { r.Protocol = unix.RTPROT_STATIC }), false},
		"ours in another table": {notified(unix.RTM_NEWROUTE, "10.96.0.2", func(r *netlink.Route) { r.Table = unix.RT_TABLE_MAIN }), false},
		"a probe's":             {notified(unix.RTM_NEWROUTE, probeRoute.Addr().String(), nil), false},
	} {
		if c.got != c.want {
			t.Errorf("%s: notified: %v, want %v", name, c.got, c.want)
		}
	}
}

// A new agent adopts the routes that it finds, and removes those that are no longer
// needed.
func TestAdoption(t *testing.T) {
	n := newTopology(t)
	n.serve("10.244.1.2:8080")
	stays, goes := leading("10.96.0.1:80", model.TCP, "10.244.1.2:8080"), leading("10.96.0.2:80", model.TCP, "10.244.1.2:8080")
	n.sync(desired(stays, goes))
	n.restart()
	n.wantRoutes("10.96.0.1/32", "10.96.0.2/32")
	if _, err := n.d.Apply(t.Context(), model.Delta{}); !errors.Is(err, dataplane.ErrNotSynced) {
		t.Errorf("error %v", err)
	}
	if stats := n.sync(desired(stays)); stats.Operations != 3 || stats.Repaired != 0 { // a route goes; frontend and socket come
		t.Errorf("%+v", stats)
	}
	n.wantRoutes("10.96.0.1/32")
	n.meets(n.outside, "10.96.0.1:80", 1)
	if err := n.d.Cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.wantRoutes()
}

// An address that the node has itself is left alone. When the node loses it, a route is
// added.
func TestOwnAddress(t *testing.T) {
	n := newTopology(t)
	n.serve("10.244.1.2:8080")
	f := leading("192.168.1.2:80", model.TCP, "10.244.1.2:8080")
	f.Kind = model.KindExternalIP
	changed := n.watch()
	n.sync(desired(f))
	n.wantRoutes()
	n.meets(n.outside, "192.168.1.2:80", 1)
	n.ip(n.node, "addr del 192.168.1.2/32 dev lo")
	<-changed
	if stats := n.sync(desired(f)); stats.Operations != 1 || stats.Repaired != 0 {
		t.Errorf("%+v", stats)
	}
	n.wantRoutes("192.168.1.2/32")
	n.meets(n.outside, "192.168.1.2:80", 1)
	n.ip(n.node, "addr add 192.168.1.2/32 dev lo")
	<-changed
	n.sync(desired(f))
	n.wantRoutes()
	n.meets(n.outside, "192.168.1.2:80", 1)
}

// Addresses on the device of the mode IPVS belong to Services, and will be removed.
func TestAddressesOfIPVS(t *testing.T) {
	n := newTopology(t)
	n.serve("10.244.1.2:8080", "[fd00:244::2]:8080")
	n.ip(n.node, `link add kube-ipvs0 type veth peer name other
addr add 10.96.0.1/32 dev kube-ipvs0
addr add fd00:96::1/128 dev kube-ipvs0 nodad
link set kube-ipvs0 up`)
	n.sync(desired(leading("10.96.0.1:80", model.TCP, "10.244.1.2:8080"), leading("[fd00:96::1]:80", model.TCP, "[fd00:244::2]:8080")))
	n.wantRoutes("10.96.0.1/32", "fd00:96::1/128")
	n.ip(n.node, "link del kube-ipvs0")
	n.wantRoutes("10.96.0.1/32", "fd00:96::1/128")
	n.meets(n.outside, "10.96.0.1:80", 1)
	n.meets(n.outside, "[fd00:96::1]:80", 1)
}
