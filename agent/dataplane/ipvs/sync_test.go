// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/internal/desiredtest"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// mixed has one frontend of each kind.
func mixed() model.Desired {
	sticky := clusterIP("10.96.0.2:80", model.TCP, "10.244.0.2:80")
	sticky.AffinityTimeoutSeconds = 10800
	refused := clusterIP("10.96.0.3:80", model.TCP)
	refused.Internal = model.Backend{Verdict: model.Reject}
	refused.External = refused.Internal
	d := desiredOf(
		clusterIP("10.96.0.1:53", model.TCP, "10.244.0.1:53", "10.244.0.2:53"),
		clusterIP("10.96.0.1:53", model.UDP, "10.244.0.1:53", "10.244.0.2:53"),
		sticky, refused,
		split(clusterIP("192.0.2.7:443", model.TCP, "10.244.0.1:443", "10.244.1.1:443"), "10.244.0.1:443"),
		split(nodePort("30443", "10.244.0.1:443", "10.244.1.1:443"), "10.244.0.1:443"),
		nodePort("30080", "10.244.0.2:80"),
		clusterIP("[fd00:96::1]:80", model.TCP, "[fd00:244::1]:80"),
		nodePort("[::]:30080", "[fd00:244::1]:80"),
	)
	d.Node.NodePortAddresses = []netip.Addr{addr("192.168.0.2"), addr("192.168.1.2"), addr("fd00::2")}
	return d
}

var mixedServers = []string{
	"10.96.0.1:53/tcp rr 10.244.0.1:53 10.244.0.2:53",
	"10.96.0.1:53/udp rr 10.244.0.1:53 10.244.0.2:53",
	"10.96.0.2:80/tcp rr persistent 10800 10.244.0.2:80",
	"192.0.2.7:443/tcp rr 10.244.0.1:443 10.244.1.1:443",
	"mark 0xf10001bb (IPv4) rr 10.244.0.1:443",
	"192.168.0.2:30443/tcp rr flags 0x20 10.244.0.1:443 10.244.1.1:443",
	"192.168.1.2:30443/tcp rr flags 0x20 10.244.0.1:443 10.244.1.1:443",
	"mark 0xf10076eb (IPv4) rr 10.244.0.1:443",
	"192.168.0.2:30080/tcp rr flags 0x20 10.244.0.2:80",
	"192.168.1.2:30080/tcp rr flags 0x20 10.244.0.2:80",
	"[fd00:96::1]:80/tcp rr [fd00:244::1]:80",
	"[fd00::2]:30080/tcp rr flags 0x20 [fd00:244::1]:80",
}

func TestSync(t *testing.T) {
	n := newNode(t, "192.168.0.2", "192.168.1.2", "fd00::2")
	n.sync(mixed())
	n.expect(mixedServers...)
	n.expectBound("10.96.0.1", "10.96.0.2", "10.96.0.3", "192.0.2.7", "fd00:96::1")
	n.unchanged(mixed())
	n.restart()
	n.unchanged(mixed())
	n.apply(desiredOf())
	n.expect()
	n.expectBound()
}

// An agent finds at its start everything that it made before, although the Service was
// deleted while no agent ran, or the node's address changed.
func TestAdopt(t *testing.T) {
	n := newNode(t, "192.168.0.2", "192.168.1.2", "fd00::2", "192.168.5.5")
	before := mixed()
	own := clusterIP("192.168.5.5:80", model.TCP, "10.244.0.1:80") // an external IP
	before.Frontends[own.Key] = own
	n.sync(before)
	n.connections("192.0.2.7:443/tcp", "10.244.0.1:443", 1, 0)
	n.connections("mark 0xf10001bb (IPv4)", "10.244.0.1:443", 1, 0)
	n.restart()
	moved := desiredOf(nodePort("30080", "10.244.0.2:80"))
	moved.Node.NodePortAddresses = []netip.Addr{addr("192.168.0.3")}
	if stats := n.sync(moved); stats.Repaired > 0 || stats.Operations == 0 {
		t.Errorf("what the last agent left is taken for others' doing: %+v", stats)
	}
	rest := []string{
		"192.168.0.3:30080/tcp rr flags 0x20 10.244.0.2:80",
		"192.0.2.7:443/tcp rr flags 0x20 10.244.0.1:443*0",
		"mark 0xf10001bb (IPv4) rr 10.244.0.1:443*0",
	}
	n.expect(rest...)
	n.expectBound("192.0.2.7")
	n.restart()
	n.clock.Step(899 * time.Second)
	n.unchanged(moved)
	n.expect(rest...)
	n.connections("192.0.2.7:443/tcp", "10.244.0.1:443", 0, 0)
	n.clock.Step(900 * time.Second) // the deadline counts from the start of the agent
	n.sync(moved)
	n.expectBound()
}

// A wanted real server of weight 0 at the start of the agent gets connections.
func TestAdoptWanted(t *testing.T) {
	n := newNode(t)
	web := desiredOf(clusterIP("10.96.0.1:80", model.TCP, "10.244.0.1:80"))
	n.sync(web)
	for _, s := range n.virtual {
		s.reals[endpoints("10.244.0.1:80")[0]].weight = 0
	}
	n.restart()
	n.sync(web)
	n.expectSteps("weight 10.96.0.1:80/tcp -> 10.244.0.1:80 1")
	n.unchanged(web)
}

func TestForeign(t *testing.T) {
	n := newNode(t, "192.168.0.2")
	for _, f := range []*model.Frontend{
		clusterIP("198.51.100.1:80", model.TCP), clusterIP("192.168.0.2:22", model.TCP), clusterIP("10.96.5.1:80", model.TCP),
	} {
		n.virtual[onAddress(f.Key)] = &fakeServer{server{scheduler: "wlc"}, map[model.Endpoint]*realServer{}}
	}
	n.virtual[onMark("IPv4", 77)] = &fakeServer{server{scheduler: "wlc"}, map[model.Endpoint]*realServer{}}
	want := []string{"198.51.100.1:80/tcp wlc", "192.168.0.2:22/tcp wlc", "10.96.5.1:80/tcp wlc", "mark 0x4d (IPv4) wlc"}
	d := desiredOf(nodePort("30080", "10.244.0.1:80"), clusterIP("10.96.5.2:80", model.TCP, "10.244.0.1:80"))
	d.Node.NodePortAddresses = []netip.Addr{addr("192.168.0.2")}
	n.o.ExcludeCIDRs = []netip.Prefix{netip.MustParsePrefix("10.96.5.0/24")}
	n.onDevice[addr("10.96.5.1")] = struct{}{}
	n.onDevice[addr("10.96.6.1")] = struct{}{} // the device is ours, and so what answers on it
	n.virtual[onAddress(clusterIP("10.96.6.1:80", model.TCP).Key)] = &fakeServer{}
	n.sync(d)
	n.expect(append(want, "192.168.0.2:30080/tcp rr flags 0x20 10.244.0.1:80")...)
	n.expectBound()
	d2 := d
	d2.Frontends = maps.Clone(d.Frontends)
	more := clusterIP("10.96.5.3:80", model.TCP, "10.244.0.1:80")
	d2.Frontends[more.Key] = more
	if stats := n.apply(d2); stats.Operations != 0 {
		t.Errorf("an excluded Service did %+v: %q", stats, n.steps)
	}
	if err := n.d.Cleanup(context.Background()); err != nil {
		t.Fatal(err)
	}
	n.expect(want...)
	if n.device || n.table != nil {
		t.Error("Cleanup leaves the device or the table")
	}
}

// A range is excluded later, and then no longer.
func TestExcludeLater(t *testing.T) {
	n := newNode(t)
	n.sync(desiredOf(clusterIP("10.96.5.1:80", model.TCP, "10.244.0.1:80")))
	without := desiredOf(clusterIP("10.96.5.1:80", model.TCP, "10.244.0.1:80"))
	n.o.ExcludeCIDRs = []netip.Prefix{netip.MustParsePrefix("10.96.5.0/24")}
	n.apply(without)
	n.expect()
	n.expectBound()
	n.o = defaults()
	n.sync(desiredOf(clusterIP("10.96.5.1:80", model.TCP, "10.244.0.1:80")))
	n.expect("10.96.5.1:80/tcp rr 10.244.0.1:80")
}

func TestNodePortAddresses(t *testing.T) {
	n := newNode(t, "192.168.0.2")
	d := desiredOf(nodePort("30080", "10.244.0.1:80"))
	d.Node.NodePortCIDRs = []netip.Prefix{netip.MustParsePrefix("192.168.0.0/16")}
	n.sync(d)
	n.expect("192.168.0.2:30080/tcp rr flags 0x20 10.244.0.1:80")
	n.elsewhere[addr("192.168.7.7")] = struct{}{}
	n.sync(d)
	n.expect("192.168.0.2:30080/tcp rr flags 0x20 10.244.0.1:80", "192.168.7.7:30080/tcp rr flags 0x20 10.244.0.1:80")
	delete(n.elsewhere, addr("192.168.0.2"))
	n.connections("192.168.0.2:30080/tcp", "10.244.0.1:80", 1, 0)
	n.sync(d)
	n.expect("192.168.0.2:30080/tcp rr flags 0x20 10.244.0.1:80*0", "192.168.7.7:30080/tcp rr flags 0x20 10.244.0.1:80")
	n.clock.Step(time.Hour)
	n.sync(d)
	n.expect("192.168.7.7:30080/tcp rr flags 0x20 10.244.0.1:80")
	n.expectBound()
}

func TestSplit(t *testing.T) {
	n := newNode(t)
	same := clusterIP("192.0.2.7:443", model.TCP, "10.244.0.1:443", "10.244.1.1:443")
	n.sync(desiredOf(same))
	n.expect("192.0.2.7:443/tcp rr 10.244.0.1:443 10.244.1.1:443")
	local := split(clusterIP("192.0.2.7:443", model.TCP, "10.244.0.1:443", "10.244.1.1:443"), "10.244.0.1:443")
	n.apply(desiredOf(local))
	n.expectSteps("add mark 0xf10001bb (IPv4)", "add mark 0xf10001bb (IPv4) -> 10.244.0.1:443", "table")
	// The kernel does not translate ports of a persistent virtual server with a mark.
	sticky := split(clusterIP("192.0.2.7:443", model.TCP, "10.244.0.1:443", "10.244.1.1:443"), "10.244.0.1:443")
	sticky.AffinityTimeoutSeconds = 600
	n.apply(desiredOf(sticky))
	n.expect("192.0.2.7:443/tcp rr persistent 600 10.244.0.1:443 10.244.1.1:443", "mark 0xf10001bb (IPv4) sh flags 0x8 10.244.0.1:443")
	n.apply(desiredOf(same))
	n.expect("192.0.2.7:443/tcp rr 10.244.0.1:443 10.244.1.1:443")
	dropped := clusterIP("192.0.2.7:443", model.TCP, "10.244.0.1:443")
	dropped.External = model.Backend{Verdict: model.Drop}
	n.apply(desiredOf(dropped))
	n.expect("192.0.2.7:443/tcp rr 10.244.0.1:443")
}

// New virtual servers come first, then the table that leads to them, then the address.
// Deletions are in the reverse order.
func TestOrder(t *testing.T) {
	n := newNode(t)
	n.sync(desiredOf())
	web := desiredOf(clusterIP("10.96.0.1:80", model.TCP, "10.244.0.1:80"))
	n.apply(web)
	n.expectSteps("add 10.96.0.1:80/tcp", "add 10.96.0.1:80/tcp -> 10.244.0.1:80", "table", "bind 10.96.0.1")
	replaced := desiredOf(clusterIP("10.96.0.1:80", model.TCP, "10.244.0.2:80"))
	n.apply(replaced)
	n.expectSteps("add 10.96.0.1:80/tcp -> 10.244.0.2:80",
		"weight 10.96.0.1:80/tcp -> 10.244.0.1:80 0", "delete 10.96.0.1:80/tcp -> 10.244.0.1:80")
	n.apply(desiredOf())
	n.expectSteps("table", "weight 10.96.0.1:80/tcp -> 10.244.0.2:80 0", "delete 10.96.0.1:80/tcp -> 10.244.0.2:80",
		"delete 10.96.0.1:80/tcp", "unbind 10.96.0.1", "table")
}

// A virtual address that the node has itself is not rejected, and not on our device,
// unless it was added there first.
func TestOwnAddress(t *testing.T) {
	n := newNode(t, "192.168.0.2")
	d := desiredOf(clusterIP("192.168.0.2:80", model.TCP, "10.244.0.1:80"), clusterIP("192.0.2.7:80", model.TCP, "10.244.0.1:80"))
	n.sync(d)
	n.expectBound("192.0.2.7")
	n.elsewhere[addr("192.0.2.7")] = struct{}{}
	if n.d.vips.isExternal(addr("192.0.2.7"), fakeIndex, true) || !n.d.vips.isExternal(addr("192.0.2.7"), fakeIndex, false) {
		t.Error("an address that we have bound is external, or its removal by others is not")
	}
	if !n.d.vips.isExternal(addr("192.0.2.7"), 2, true) {
		t.Error("an address of ours on another device is not external")
	}
	n.sync(d)
	if len(n.refuse) > 0 {
		t.Errorf("the node's own addresses are refused: %v", n.refuse)
	}
	if n.d.vips.isExternal(addr("192.0.2.7"), 2, true) {
		t.Error("an address that Sync has read is still external")
	}
	delete(n.elsewhere, addr("192.168.0.2"))
	delete(n.elsewhere, addr("192.0.2.7"))
	if !n.d.vips.isExternal(addr("192.168.0.2"), 2, false) {
		t.Error("an address that the node has lost is not external")
	}
	n.sync(d)
	n.expectBound("192.0.2.7", "192.168.0.2")
	n.expect("192.168.0.2:80/tcp rr 10.244.0.1:80", "192.0.2.7:80/tcp rr 10.244.0.1:80")
	n.apply(desiredOf())
	n.expectBound()
}

func TestWithoutIPv6(t *testing.T) {
	dual := desiredOf(clusterIP("10.96.0.1:80", model.TCP, "10.244.0.1:80"), clusterIP("[fd00:96::1]:80", model.TCP, "[fd00:244::1]:80"))
	more := desiredOf(clusterIP("10.96.0.1:80", model.TCP, "10.244.0.1:80"), clusterIP("[fd00:96::2]:80", model.TCP, "[fd00:244::1]:80"))
	reason := errors.New("no such family")
	cases := map[string]func(*node){
		"switched off":    func(n *node) { n.setSysctl("net/ipv6/conf/all/disable_ipv6", "1") },
		"not in nftables": func(n *node) { n.noIPv6 = reason },
	}
	for name, without := range cases {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			without(n)
			says := func(stats dataplane.Result, frontend string) {
				t.Helper()
				if got := desiredtest.Unsupported(stats); !strings.HasPrefix(got, "IPv6 1 ["+frontend+"]: IPv6: ") {
					t.Errorf("unsupported: %s", got)
				}
			}
			says(n.sync(dual), "[fd00:96::1]:80/tcp")
			says(n.apply(more), "[fd00:96::2]:80/tcp")
			n.expect("10.96.0.1:80/tcp rr 10.244.0.1:80")
			n.expectBound("10.96.0.1")
			n.noIPv6 = nil
			n.setSysctl("net/ipv6/conf/all/disable_ipv6", "0")
			n.setSysctl("net/ipv6/conf/kube-ipvs0/disable_ipv6", "1") // as by default
			if stats := n.sync(dual); stats.Unsupported != nil {
				t.Errorf("when it is there: %+v", stats)
			}
			n.expect("10.96.0.1:80/tcp rr 10.244.0.1:80", "[fd00:96::1]:80/tcp rr [fd00:244::1]:80")
			if value, err := n.tree.Get("net/ipv6/conf/kube-ipvs0/disable_ipv6"); value != "0" {
				t.Errorf("on the device it is still off: %s, %v", value, err)
			}
		})
	}
}

func TestParameters(t *testing.T) {
	n := newNode(t)
	d := desiredOf()
	n.sync(d)
	expect := func(name, want string) {
		t.Helper()
		if got, err := n.tree.Get(name); got != want || err != nil {
			t.Errorf("%s is %s, want %s (%v)", name, got, want, err)
		}
	}
	expect("net/ipv4/vs/conntrack", "1")
	expect("net/ipv4/conf/all/arp_ignore", "0")
	n.o.StrictARP = true
	n.o.Timeouts = Timeouts{TCP: 7200}
	n.times = Timeouts{TCP: 900, TCPFin: 120, UDP: 300}
	n.apply(d)
	n.expectSteps("timeouts {TCP:7200 TCPFin:0 UDP:0}")
	expect("net/ipv4/conf/all/arp_ignore", "1")
	expect("net/ipv4/conf/all/arp_announce", "2")
	n.setSysctl("net/ipv4/vs/conntrack", "0")
	n.unchanged(d)
	expect("net/ipv4/vs/conntrack", "1")
}

func TestUnsupported(t *testing.T) {
	n := newNode(t)
	short := clusterIP("10.96.0.1:80", model.TCP, "10.244.0.1:80")
	short.AffinityTimeoutSeconds = 60
	long := clusterIP("10.96.0.2:80", model.TCP, "10.244.0.1:80")
	long.AffinityTimeoutSeconds = 120
	d := desiredOf(short, long)
	d.Node.NodePortLocalhost = true
	for name, stats := range map[string]dataplane.Result{"Sync": n.sync(d), "Sync again": n.sync(d)} {
		got := desiredtest.Unsupported(stats)
		if !strings.Contains(got, "AffinityTimeout 1 [10.96.0.1:80/tcp]: session affinity: 60 seconds are clamped") ||
			!strings.Contains(got, "NodePortLocalhost 0 []: IPVS has no node ports on localhost") {
			t.Errorf("%s: unsupported: %s", name, got)
		}
	}
	n.expect("10.96.0.1:80/tcp rr persistent 60 10.244.0.1:80", "10.96.0.2:80/tcp rr persistent 120 10.244.0.1:80")
	udp := clusterIP("10.96.0.3:80", model.UDP, "10.244.0.1:80")
	udp.AffinityTimeoutSeconds = 120
	if got := desiredtest.Unsupported(n.apply(desiredOf(long, udp))); !strings.Contains(got, "clamped to 300") {
		t.Errorf("Apply: unsupported: %s", got)
	}
	d = desiredOf(long)
	if stats := n.apply(d); stats.Unsupported != nil {
		t.Errorf("Apply: unsupported: %v", stats.Unsupported)
	}
}

// A node's settings and its Services may change in one delta.
func TestSettingsAndServicesAtOnce(t *testing.T) {
	n := newNode(t)
	n.sync(desiredOf(clusterIP("10.96.0.1:80", model.TCP, "10.244.0.2:80")))
	changed := clusterIP("10.96.0.1:80", model.TCP, "10.244.0.2:80")
	changed.Internal.Masquerade, changed.External.Masquerade = model.MasqueradeAlways, model.MasqueradeAlways
	desired := desiredOf(changed, clusterIP("10.96.0.2:80", model.TCP, "10.244.0.3:80"))
	n.o.Scheduler = "lc"
	n.apply(desired)
	if diff := cmp.Diff(desired.Frontends, n.d.filter.(*fakeFilter).programmed, cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{})); diff != "" {
		t.Errorf("the table differs (-want +got):\n%s", diff)
	}
	n.unchanged(desired)
}
