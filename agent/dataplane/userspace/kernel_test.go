// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"bufio"
	"errors"
	"iter"
	"maps"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/internal/desiredtest"
	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// spaces are the network namespaces of clients.
func (n *topology) spaces() iter.Seq2[string, netns.NsHandle] {
	return maps.All(map[string]netns.NsHandle{"the node": n.node, "a Pod": n.pods, "outside": n.outside})
}

func TestNodePorts(t *testing.T) {
	n := newTopology(t)
	n.serve("10.244.1.2:8080")
	want := desired(leading("0.0.0.0:30001", model.TCP, "10.244.1.2:8080"), leading("0.0.0.0:30001", model.UDP, "10.244.1.2:8080"))
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

// A client that is not allowed gets no answer, however the node recognizes its Pods.
func TestDropped(t *testing.T) {
	for name, settings := range map[string]model.NodeSettings{
		"Pods by their address":      {PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}},
		"Pods by their link":         {PodInterface: "pod0"},
		"Pods by their links' names": {PodInterface: "pod", PodInterfacePrefix: true},
	} {
		t.Run(name, func(t *testing.T) {
			n := newTopology(t)
			n.serve("10.244.1.2:8080")
			want := desired()
			want.Node = settings
			for _, p := range []model.Protocol{model.TCP, model.UDP} {
				local := leading("1.2.3.4:80", p, "10.244.1.2:8080")
				local.External = model.Backend{Verdict: model.Drop}
				inverse := leading("1.2.3.5:80", p, "10.244.1.2:8080")
				inverse.Internal = model.Backend{Verdict: model.Drop}
				closed := leading("1.2.3.6:80", p)
				closed.Internal, closed.External = local.External, local.External
				for _, f := range []*model.Frontend{local, inverse, closed} {
					want.Frontends[f.Key] = f
				}
			}
			if stats := n.sync(want); stats.Unsupported != nil {
				t.Fatal(stats.Unsupported)
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

// A change of the source ranges applies at once, without another socket.
func TestSourcesChange(t *testing.T) {
	n := newTopology(t)
	n.serve("10.244.1.2:8080")
	f := leading("1.2.3.4:80", model.TCP, "10.244.1.2:8080")
	n.sync(desired(f))
	for _, c := range []struct {
		sources []string
		silent  bool
	}{{[]string{"203.0.113.2/32"}, false}, {[]string{"10.0.0.0/8"}, true}, {nil, true}, {[]string{"0.0.0.0/0"}, false}} {
		next := leading("1.2.3.4:80", model.TCP, "10.244.1.2:8080")
		next.Restricted = true
		for _, s := range c.sources {
			next.Sources = append(next.Sources, netip.MustParsePrefix(s))
		}
		if stats := n.apply(model.Change{Key: f.Key, Old: f, New: next}); stats.Operations != 1 {
			t.Errorf("%+v", stats)
		}
		if !n.answers(n.outside, "tcp", "1.2.3.4:80", !c.silent) {
			t.Errorf("%v: an answer: %v", c.sources, c.silent)
		}
		f = next
	}
}

// A filter that the kernel does not take leaves no socket with the filter before, which
// would accept the wrong clients. It is reported, and set when the kernel takes it.
func TestSourcesTooMany(t *testing.T) {
	n := newTopology(t)
	n.serve("10.244.1.2:8080")
	f := leading("1.2.3.4:80", model.TCP, "10.244.1.2:8080")
	n.sync(desired(f))
	limit := func(bytes string) {
		netnstest.Do(t, n.node, func() error {
			return os.WriteFile("/proc/sys/net/core/optmem_max", []byte(bytes), 0o600)
		})
	}
	limit("4096")
	next := leading("1.2.3.4:80", model.TCP, "10.244.1.2:8080")
	next.Restricted = true
	for i := range 200 {
		next.Sources = append(next.Sources, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, 0}), 24))
	}
	next.Sources = append(next.Sources, netip.MustParsePrefix("203.0.113.2/32"))
	change := model.Change{Key: f.Key, Old: f, New: next}
	stats := n.apply(change)
	if text := desiredtest.Unsupported(stats); !strings.Contains(text, "optmem_max") {
		t.Errorf("unsupported: %v", text)
	}
	if n.answers(n.outside, "tcp", "1.2.3.4:80", true) {
		t.Error("the socket has the filter before the change")
	}
	limit("131072")
	if stats := n.sync(desired(next)); stats.Operations != 1 || stats.Unsupported != nil {
		t.Errorf("when the kernel takes it: %+v", stats)
	}
	if !n.answers(n.outside, "tcp", "1.2.3.4:80", true) {
		t.Error("no answer with the new filter")
	}
}

// A port that a process of the node uses is reported, and the rest is programmed.
func TestPortTaken(t *testing.T) {
	n := newTopology(t)
	n.serve("10.244.1.2:8080")
	var taken net.Listener
	netnstest.Do(t, n.node, func() (err error) {
		taken, err = net.Listen("tcp4", "0.0.0.0:80")
		return err
	})
	defer taken.Close()
	want := desired(leading("10.96.0.1:80", model.TCP, "10.244.1.2:8080"), leading("10.96.0.1:81", model.TCP, "10.244.1.2:8080"))
	stats := n.sync(want)
	if text := desiredtest.Unsupported(stats); !strings.Contains(text, unix.EADDRINUSE.Error()) || !strings.Contains(text, "Socket 1 [10.96.0.1:80/tcp]") || !strings.Contains(text, "process of the node") {
		t.Errorf("unsupported: %v", text)
	}
	n.meets(n.outside, "10.96.0.1:81", 1)
	if again := n.sync(want); again.Operations != 0 || again.Unsupported == nil {
		t.Errorf("while the port is in use: %+v", again)
	}
	taken.Close()
	if stats = n.sync(want); stats.Operations != 1 || stats.Unsupported != nil {
		t.Errorf("when the port is free: %+v", stats)
	}
	n.meets(n.outside, "10.96.0.1:80", 1)
}

// Frontends that this mode does not support are reported.
func TestUnsupported(t *testing.T) {
	n := newTopology(t)
	local := leading("1.2.3.4:80", model.TCP, "10.244.1.2:8080")
	local.Kind, local.External.Masquerade = model.KindLoadBalancer, model.MasqueradeNever
	sctp := leading("10.96.0.1:3868", model.SCTP, "10.244.1.2:3868")
	text := desiredtest.Unsupported(n.sync(desired(local, sctp, leading("10.96.0.1:80", model.TCP, "10.244.1.2:8080"))))
	for _, want := range []string{"SCTP 1 [10.96.0.1:3868/sctp]: SCTP frontends", "ClientAddress 1 [1.2.3.4:80/tcp]: "} {
		if !strings.Contains(text, want) {
			t.Errorf("unsupported: %s, want %s", text, want)
		}
	}
	stats := n.apply(model.Change{Key: local.Key, Old: local}, model.Change{Key: sctp.Key, Old: sctp})
	if stats.Unsupported != nil {
		t.Errorf("still unsupported: %v", stats.Unsupported)
	}
}

// A socket that another process closes is opened again.
func TestSocketEnded(t *testing.T) {
	n := newTopology(t)
	n.serve("10.244.1.2:8080")
	f := leading("10.96.0.1:80", model.TCP, "10.244.1.2:8080")
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

// On a node with IPv6 disabled IPv4 works.
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
	v4, v6 := leading("10.96.0.1:80", model.TCP, "10.244.1.2:8080"), leading("[fd00:96::1]:80", model.TCP, "[fd00:244::2]:8080")
	want := desired(v4, v6)
	want.Node.ServiceCIDRs = []netip.Prefix{netip.MustParsePrefix("fd00:96::/112")}
	if stats := n.sync(want); stats.Operations != 3 || !strings.Contains(desiredtest.Unsupported(stats), "IPv6 1 [[fd00:96::1]:80/tcp]: IPv6: net/ipv6/conf/all/disable_ipv6 is 1") {
		t.Errorf("%+v", stats)
	}
	if stats := n.apply(model.Change{Key: v6.Key, Old: v6}); stats.Operations != 0 || stats.Unsupported != nil {
		t.Errorf("%+v", stats)
	}
	n.wantRoutes("10.96.0.1/32")
	n.meets(n.outside, "10.96.0.1:80", 1)
}

// Another mode takes over: sockets are closed when no client can wait in their queues any
// more, and an address is removed with the last connection to it.
func TestReleased(t *testing.T) {
	n := newTopology(t)
	n.serve("10.244.1.2:8080")
	n.sync(desired(leading("10.96.0.1:80", model.TCP, "10.244.1.2:8080"), leading("10.96.0.2:80", model.TCP, "10.244.1.2:8080")))
	conn, err := n.dial(n.outside, "tcp", "10.96.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	n.serve("10.244.1.3:8080")
	left := desired(leading("10.96.0.1:80", model.TCP, "10.244.1.3:8080"))
	if wait, err := n.released(left); wait == 0 || err != nil {
		t.Errorf("released, or an error: %v", err)
	}
	if met := n.meets(n.outside, "10.96.0.1:80", 1); met["10.244.1.3:8080"] != 1 {
		t.Errorf("a new connection meets %v", met)
	}
	if _, _, err := n.ask(n.outside, "10.96.0.2:80"); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a new connection to a removed Service: %v", err)
	}
	n.untilItHangsUp(left)
	n.wantRoutes("10.96.0.1/32")
	if _, _, err := n.ask(n.outside, "10.96.0.1:80"); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a new connection: %v", err)
	}
	echo(t, conn, "still", "still")
	conn.Close()
	eventually(t, "it is idle", func() bool {
		wait, err := n.released(desired())
		return wait == 0 && err == nil
	})
	n.wantRoutes()
}

func TestProbe(t *testing.T) {
	n := newTopology(t)
	if _, err := n.d.Probe(t.Context(), nil); err != nil {
		t.Error(err)
	}
	n.wantRoutes()
}
