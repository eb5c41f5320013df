// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
	"github.com/fairlead-proxy/fairlead/rules"
)

// spaces are where clients are.
func (n *topology) spaces() iter.Seq2[string, netns.NsHandle] {
	return maps.All(map[string]netns.NsHandle{"the node": n.node, "a Pod": n.pods, "outside": n.outside})
}

// watch watches until the test ends. What it returns gets news.
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

// watched says whether somebody watches.
func (c *Connections) watched() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.watchers) > 0
}

func (n *topology) wantRoutes(want ...string) {
	n.t.Helper()
	routes, err := n.d.table.routes()
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

// Routes that others remove are back, those that others add in our name go, and both
// are counted; our own changes are no news.
func TestDrift(t *testing.T) {
	n := newTopology(t)
	want := desired(leading("10.96.0.1:80", rules.TCP, "10.244.1.2:8080"), leading("[fd00:96::1]:80", rules.TCP, "[fd00:244::2]:8080"))
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
		"others' are no news":  {"route add 10.97.0.0/16 dev pod0", 0},
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
	if stats := n.sync(want); stats != (dataplane.Stats{}) {
		t.Errorf("all was right: %+v", stats)
	}
	select {
	case <-changed:
		if stats := n.sync(want); stats != (dataplane.Stats{}) {
			t.Errorf("news: %+v", stats)
		}
	default:
	}
}

// Our own changes of routes are no news, and others' routes are none.
func TestRouteNews(t *testing.T) {
	n := newTopology(t)
	n.sync(desired(leading("10.96.0.1:80", rules.TCP, "10.244.1.2:8080")))
	news := func(kind uint16, address string, change func(*netlink.Route)) bool {
		r := n.d.table.(*kernelTable).asRoute(routeTo(netip.MustParseAddr(address)))
		if change != nil {
			change(r)
		}
		return n.d.isRouteNews(netlink.RouteUpdate{Type: kind, Route: *r})
	}
	for name, c := range map[string]struct{ got, want bool }{
		"ours came":             {news(unix.RTM_NEWROUTE, "10.96.0.1", nil), false},
		"ours went":             {news(unix.RTM_DELROUTE, "10.96.0.1", nil), true},
		"another one came":      {news(unix.RTM_NEWROUTE, "10.96.0.2", nil), true},
		"another one went":      {news(unix.RTM_DELROUTE, "10.96.0.2", nil), false},
		"others' came":          {news(unix.RTM_NEWROUTE, "10.96.0.2", func(r *netlink.Route) { r.Protocol = unix.RTPROT_STATIC }), false},
		"ours in another table": {news(unix.RTM_NEWROUTE, "10.96.0.2", func(r *netlink.Route) { r.Table = unix.RT_TABLE_MAIN }), false},
		"a probe's":             {news(unix.RTM_NEWROUTE, probeRoute.Addr().String(), nil), false},
	} {
		if c.got != c.want {
			t.Errorf("%s: news: %v, want %v", name, c.got, c.want)
		}
	}
}

// A new agent takes over the routes that it finds, and removes those that nobody
// needs any more.
func TestAdoption(t *testing.T) {
	n := newTopology(t)
	n.serve("10.244.1.2:8080")
	stays, goes := leading("10.96.0.1:80", rules.TCP, "10.244.1.2:8080"), leading("10.96.0.2:80", rules.TCP, "10.244.1.2:8080")
	n.sync(desired(stays, goes))
	n.restart()
	n.wantRoutes("10.96.0.1/32", "10.96.0.2/32")
	if _, err := n.d.Apply(t.Context(), rules.Delta{}); !errors.Is(err, dataplane.ErrNotSynced) {
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

// An address that the node has itself is left alone, and is taken over when the
// node loses it.
func TestOwnAddress(t *testing.T) {
	n := newTopology(t)
	n.serve("10.244.1.2:8080")
	f := leading("192.168.1.2:80", rules.TCP, "10.244.1.2:8080")
	f.Kind = rules.KindExternalIP
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

// Addresses on the device of the mode IPVS are Services', and about to go.
func TestAddressesOfIPVS(t *testing.T) {
	n := newTopology(t)
	n.serve("10.244.1.2:8080", "[fd00:244::2]:8080")
	n.ip(n.node, `link add kube-ipvs0 type veth peer name other
addr add 10.96.0.1/32 dev kube-ipvs0
addr add fd00:96::1/128 dev kube-ipvs0 nodad
link set kube-ipvs0 up`)
	n.sync(desired(leading("10.96.0.1:80", rules.TCP, "10.244.1.2:8080"), leading("[fd00:96::1]:80", rules.TCP, "[fd00:244::2]:8080")))
	n.wantRoutes("10.96.0.1/32", "fd00:96::1/128")
	n.ip(n.node, "link del kube-ipvs0")
	n.wantRoutes("10.96.0.1/32", "fd00:96::1/128")
	n.meets(n.outside, "10.96.0.1:80", 1)
	n.meets(n.outside, "[fd00:96::1]:80", 1)
}

func TestNodePorts(t *testing.T) {
	n := newTopology(t)
	n.serve("10.244.1.2:8080")
	want := desired(leading("0.0.0.0:30001", rules.TCP, "10.244.1.2:8080"), leading("0.0.0.0:30001", rules.UDP, "10.244.1.2:8080"))
	want.Node.NodePortAddresses = []netip.Addr{netip.MustParseAddr("192.168.0.2")}
	check := func(answers map[string]bool) {
		t.Helper()
		for address, want := range answers {
			_, _, err := n.ask(n.node, address+":30001")
			if want != (err == nil) {
				t.Errorf("%s: %v, want an answer: %v", address, err, want)
			}
		}
	}
	n.sync(want)
	check(map[string]bool{"192.168.0.2": true, "192.168.1.2": false, "127.0.0.1": false})
	want.Node.NodePortLocalhost = true
	n.sync(want)
	check(map[string]bool{"192.168.0.2": true, "192.168.1.2": false, "127.0.0.1": true})
	want.Node.NodePortCIDRs = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
	want.Node.NodePortLocalhost = false
	n.sync(want)
	check(map[string]bool{"192.168.0.2": true, "192.168.1.2": true, "127.0.0.1": false})
	changed := n.watch()
	n.ip(n.node, "addr add 192.168.2.2/32 dev lo")
	<-changed
	if stats := n.sync(want); stats.Operations != 2 { // TCP and UDP
		t.Errorf("%+v", stats)
	}
	check(map[string]bool{"192.168.2.2": true})
	n.wantRoutes()
}

// Who may not come gets no answer, by whatever way the node tells its Pods.
func TestDropped(t *testing.T) {
	for name, settings := range map[string]rules.NodeSettings{
		"Pods by their address":      {PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}},
		"Pods by their link":         {PodInterface: "pod0"},
		"Pods by their links' names": {PodInterface: "pod", PodInterfacePrefix: true},
	} {
		t.Run(name, func(t *testing.T) {
			n := newTopology(t)
			n.serve("10.244.1.2:8080")
			want := desired()
			want.Node = settings
			for _, p := range []rules.Protocol{rules.TCP, rules.UDP} {
				local := leading("1.2.3.4:80", p, "10.244.1.2:8080")
				local.External = rules.Backend{Verdict: rules.Drop}
				inverse := leading("1.2.3.5:80", p, "10.244.1.2:8080")
				inverse.Internal = rules.Backend{Verdict: rules.Drop}
				nobody := leading("1.2.3.6:80", p)
				nobody.Internal, nobody.External = local.External, local.External
				for _, f := range []*rules.Frontend{local, inverse, nobody} {
					want.Frontends[f.Key] = f
				}
			}
			if stats := n.sync(want); stats.Lacking != nil {
				t.Fatal(stats.Lacking)
			}
			for who, space := range n.spaces() {
				for to, silent := range map[string]bool{"1.2.3.4:80": who == "outside", "1.2.3.5:80": who != "outside", "1.2.3.6:80": true} {
					for _, network := range []string{"tcp", "udp"} {
						if !n.answers(space, network, to, !silent) {
							t.Errorf("from %s to %s/%s: an answer: %v, want %v", who, to, network, silent, !silent)
						}
					}
				}
			}
		})
	}
}

// A change of the ranges counts at once, without another socket.
func TestSourcesChange(t *testing.T) {
	n := newTopology(t)
	n.serve("10.244.1.2:8080")
	f := leading("1.2.3.4:80", rules.TCP, "10.244.1.2:8080")
	n.sync(desired(f))
	for _, c := range []struct {
		sources []string
		silent  bool
	}{{[]string{"203.0.113.2/32"}, false}, {[]string{"10.0.0.0/8"}, true}, {nil, true}, {[]string{"0.0.0.0/0"}, false}} {
		next := leading("1.2.3.4:80", rules.TCP, "10.244.1.2:8080")
		next.Restricted = true
		for _, s := range c.sources {
			next.Sources = append(next.Sources, netip.MustParsePrefix(s))
		}
		if stats := n.apply(rules.Change{Key: f.Key, Old: f, New: next}); stats.Operations != 1 {
			t.Errorf("%+v", stats)
		}
		if !n.answers(n.outside, "tcp", "1.2.3.4:80", !c.silent) {
			t.Errorf("%v: an answer: %v", c.sources, c.silent)
		}
		f = next
	}
}

// A port that a process of the node has is told, and stops nothing else.
func TestPortTaken(t *testing.T) {
	n := newTopology(t)
	n.serve("10.244.1.2:8080")
	var taken net.Listener
	netnstest.Do(t, n.node, func() (err error) {
		taken, err = net.Listen("tcp4", "0.0.0.0:80")
		return err
	})
	defer taken.Close()
	want := desired(leading("10.96.0.1:80", rules.TCP, "10.244.1.2:8080"), leading("10.96.0.1:81", rules.TCP, "10.244.1.2:8080"))
	stats := n.sync(want)
	if text := fmt.Sprint(stats.Lacking); !errors.Is(stats.Lacking, unix.EADDRINUSE) || !strings.Contains(text, "10.96.0.1:80/tcp") || !strings.Contains(text, "process of the node") {
		t.Errorf("lacking: %v", stats.Lacking)
	}
	n.meets(n.outside, "10.96.0.1:81", 1)
	if again := n.sync(want); again.Operations != 0 || again.Lacking == nil {
		t.Errorf("while it is taken: %+v", again)
	}
	taken.Close()
	if stats = n.sync(want); stats.Operations != 1 || stats.Lacking != nil {
		t.Errorf("when it is free: %+v", stats)
	}
	n.meets(n.outside, "10.96.0.1:80", 1)
}

// What this mode does not have is told.
func TestLacking(t *testing.T) {
	n := newTopology(t)
	local := leading("1.2.3.4:80", rules.TCP, "10.244.1.2:8080")
	local.Kind, local.External.Masquerade = rules.KindLoadBalancer, rules.MasqueradeNever
	sctp := leading("10.96.0.1:3868", rules.SCTP, "10.244.1.2:3868")
	text := fmt.Sprint(n.sync(desired(local, sctp, leading("10.96.0.1:80", rules.TCP, "10.244.1.2:8080"))).Lacking)
	for _, want := range []string{"1 frontends of SCTP, such as 10.96.0.1:3868/sctp", "1 frontends with policy Local, such as 1.2.3.4:80/tcp"} {
		if !strings.Contains(text, want) {
			t.Errorf("lacking: %s, want %s", text, want)
		}
	}
	stats := n.apply(rules.Change{Key: local.Key, Old: local}, rules.Change{Key: sctp.Key, Old: sctp})
	if stats.Lacking != nil {
		t.Errorf("still lacking: %v", stats.Lacking)
	}
}

// A socket that somebody ends is opened again.
func TestSocketEnded(t *testing.T) {
	n := newTopology(t)
	n.serve("10.244.1.2:8080")
	f := leading("10.96.0.1:80", rules.TCP, "10.244.1.2:8080")
	n.sync(desired(f))
	changed := n.watch()
	raw, err := n.d.frontends[f.Key].sockets[f.Key].SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RD) }); err != nil {
		t.Fatal(err)
	}
	<-changed
	if stats := n.sync(desired(f)); stats.Operations != 2 || stats.Repaired != 1 {
		t.Errorf("%+v", stats)
	}
	n.meets(n.outside, "10.96.0.1:80", 1)
}

// A node whose IPv6 is switched off has IPv4.
func TestWithoutIPv6(t *testing.T) {
	n := newTopology(t)
	n.serve("10.244.1.2:8080")
	n.d.sysctls.Root = t.TempDir()
	if err := os.MkdirAll(n.d.sysctls.Root+"/net/ipv6/conf/all", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(n.d.sysctls.Root+"/net/ipv6/conf/all/disable_ipv6", []byte("1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	v4, v6 := leading("10.96.0.1:80", rules.TCP, "10.244.1.2:8080"), leading("[fd00:96::1]:80", rules.TCP, "[fd00:244::2]:8080")
	want := desired(v4, v6)
	want.Node.ServiceCIDRs = []netip.Prefix{netip.MustParsePrefix("fd00:96::/112")}
	if stats := n.sync(want); stats.Operations != 3 || n.d.IPv6Error() == nil {
		t.Errorf("%+v, %v", stats, n.d.IPv6Error())
	}
	if stats := n.apply(rules.Change{Key: v6.Key, Old: v6}); stats.Operations != 0 {
		t.Errorf("%+v", stats)
	}
	n.wantRoutes("10.96.0.1/32")
	n.meets(n.outside, "10.96.0.1:80", 1)
}

// Another mode takes over: sockets end at once, connections with the last one of
// them.
func TestRetire(t *testing.T) {
	n := newTopology(t)
	n.serve("10.244.1.2:8080")
	n.sync(desired(leading("10.96.0.1:80", rules.TCP, "10.244.1.2:8080"), leading("10.96.0.2:80", rules.TCP, "10.244.1.2:8080")))
	conn, err := n.dial(n.outside, "tcp", "10.96.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if idle, err := n.d.Retire(t.Context(), desired()); idle || err != nil {
		t.Errorf("idle: %v, %v", idle, err)
	}
	n.wantRoutes("10.96.0.1/32")
	if _, _, err := n.ask(n.outside, "10.96.0.1:80"); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a new connection: %v", err)
	}
	echo(t, conn, "still", "still")
	conn.Close()
	eventually(t, "it is idle", func() bool {
		idle, err := n.d.Retire(t.Context(), desired())
		return idle && err == nil
	})
	n.wantRoutes()
}

func TestProbe(t *testing.T) {
	n := newTopology(t)
	if err := n.d.Probe(t.Context()); err != nil {
		t.Error(err)
	}
	n.wantRoutes()
}
