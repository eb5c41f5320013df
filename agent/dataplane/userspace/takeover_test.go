// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"github.com/google/go-cmp/cmp"
	nft "github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/iptables"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/nftables"
	"github.com/fairlead-proxy/fairlead/agent/internal/desiredtest"
	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
	"github.com/fairlead-proxy/fairlead/agent/kernel/conntrack"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// otherModes are the modes whose connections the kernel translates.
var otherModes = map[string]func(*topology) dataplane.Dataplane{
	"nftables":         func(n *topology) dataplane.Dataplane { return n.withNFTables() },
	"iptables, legacy": func(n *topology) dataplane.Dataplane { return n.withIPTables("legacy") },
	"iptables, nft":    func(n *topology) dataplane.Dataplane { return n.withIPTables("nft") },
}

// withNFTables returns the node's other mode.
func (n *topology) withNFTables() *nftables.Dataplane {
	n.t.Helper()
	n.forward()
	d, err := nftables.New(nftables.Options{NetNS: int(n.node), Log: testr.New(n.t)})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = d.Close() })
	return d
}

// withIPTables returns another mode, in a variant of its programs.
func (n *topology) withIPTables(variant string) dataplane.Dataplane {
	n.t.Helper()
	n.forward()
	n.t.Setenv("XTABLES_LOCKFILE", filepath.Join(n.t.TempDir(), "lock")) // independent of other tests
	netnstest.Do(n.t, n.node, func() error {                             // so that this is the node's variant
		return exec.Command("iptables-"+variant, "-A", "OUTPUT", "-s", "192.0.2.1").Run()
	})
	d, err := iptables.New(iptables.Options{NetNS: int(n.node), Log: testr.New(n.t)})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = d.Close() })
	return d
}

// forward enables IP forwarding on the node.
func (n *topology) forward() {
	n.t.Helper()
	n.ip(n.node, "route add default via 203.0.113.2")
	netnstest.Do(n.t, n.node, func() error {
		return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0)
	})
}

// connected returns a connection from outside with the first line of the endpoint read.
func (n *topology) connected() net.Conn {
	n.t.Helper()
	conn, err := n.dial(n.outside, "tcp", childVIP)
	if err == nil {
		err = hello(conn)
	}
	if err != nil {
		n.t.Fatal(err)
	}
	return conn
}

// Open connections of the previous mode stay with the kernel as long as NAT is in use: by
// the mode itself for a moment, without rules, or by others.
func TestFromOtherModes(t *testing.T) {
	for mode, make := range otherModes {
		for name, othersTranslate := range map[string]bool{"no one else uses NAT": false, "a network plugin does": true} {
			t.Run(mode+", "+name, func(t *testing.T) {
				n := newTopology(t)
				n.serve("10.244.1.2:8080")
				before, want := make(n), desired(leading(childVIP, model.TCP, "10.244.1.2:8080"))
				desiredtest.Sync(t, before, want)
				if othersTranslate {
					n.translate()
				}
				conn := n.connected()
				n.sync(want)
				n.releaseRules(before, want)
				for until := time.Now().Add(impatience); time.Now().Before(until); { // the kernel disables NAT with a delay
					if err := alive(conn); err != nil {
						t.Fatalf("while the other mode waits: %v", err)
					}
				}
				n.wantMet("while the other mode waits")
				if err := before.Cleanup(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := alive(conn); othersTranslate && err != nil {
					t.Error(err)
				}
				n.wantMet("when it has gone")
			})
		}
	}
}

// wantMet checks that a new connection from outside reaches the endpoint, from an address
// of the node.
func (n *topology) wantMet(when string) {
	n.t.Helper()
	endpoint, seen, err := n.ask(n.outside, childVIP)
	if err != nil || endpoint != "10.244.1.2:8080" || !strings.HasPrefix(seen, "10.244.1.1:") {
		n.t.Errorf("%s a new connection meets %q from %q, %v", when, endpoint, seen, err)
	}
}

// translate adds a table as network plugins do: it masquerades what some Pods send.
func (n *topology) translate() {
	n.t.Helper()
	conn, err := nft.New(nft.WithNetNSFd(int(n.node)))
	if err != nil {
		n.t.Fatal(err)
	}
	table := conn.AddTable(&nft.Table{Name: "plugin", Family: nft.TableFamilyIPv4})
	chain := conn.AddChain(&nft.Chain{Name: "postrouting", Table: table, Type: nft.ChainTypeNAT,
		Hooknum: nft.ChainHookPostrouting, Priority: nft.ChainPriorityNATSource})
	conn.AddRule(&nft.Rule{Table: table, Chain: chain, Exprs: []expr.Any{ // ip saddr 10.99.0.0/16 masquerade
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 2},
		&expr.Cmp{Register: 1, Op: expr.CmpOpEq, Data: []byte{10, 99}},
		&expr.Masq{},
	}})
	if err := conn.Flush(); err != nil {
		n.t.Fatal(err)
	}
}

// The rules of NFTables leave our open connections alone, because these are added to
// connection tracking before. Connections that begin before the rules exist are left alone
// as well.
func TestToNFTables(t *testing.T) {
	n := newTopology(t)
	n.serve("10.244.1.2:8080")
	after, want := n.withNFTables(), desired(leading(childVIP, model.TCP, "10.244.1.2:8080"))
	n.sync(want)
	open := n.connected()
	n.yieldTo(after)
	late := n.connected()
	desiredtest.Sync(t, after, want)
	if wait, err := n.released(want); wait == 0 || err != nil {
		t.Errorf("released, or an error: %v", err)
	}
	for name, conn := range map[string]net.Conn{"open before": open, "opened since": late} {
		if err := alive(conn); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		conn.Close()
	}
	if _, seen, err := n.ask(n.outside, childVIP); err != nil || seen[:len("10.244.1.1:")] != "10.244.1.1:" { // masqueraded by the rules
		t.Errorf("a new connection is from %s, %v", seen, err)
	}
	eventually(t, "it is idle", func() bool {
		wait, err := n.released(want)
		return wait == 0 && err == nil
	})
	n.wantRoutes()
}

// A connection that is closed just before the rules are added leaves no conntrack entry
// that a new connection from the same port would match.
func TestPortIsUsedAgain(t *testing.T) {
	n := newTopology(t)
	n.serve("10.244.1.2:8080")
	after, want := n.withNFTables(), desired(leading(childVIP, model.TCP, "10.244.1.2:8080"))
	n.sync(want)
	conn := n.connected()
	n.yieldTo(after)
	client := conn.LocalAddr()
	reset(conn.(*net.TCPConn))
	desiredtest.Sync(t, after, want)
	n.untilItHangsUp(want)
	netnstest.Do(t, n.outside, func() error { return connect(client) })
}

// A process of the node that connects after another mode took over, while the Service's
// address is still local, does not use that address as its source: the connection goes on
// without it.
func TestAddressOfAProcess(t *testing.T) {
	n := newTopology(t)
	n.serve("10.244.1.2:8080")
	after, want := n.withNFTables(), desired(leading(childVIP, model.TCP, "10.244.1.2:8080"))
	want.Node.NodePortAddresses = []netip.Addr{netip.MustParseAddr("192.168.1.2")}
	n.sync(want)
	n.yieldTo(after)
	desiredtest.Sync(t, after, want)
	conn, err := n.dial(n.node, "tcp", childVIP)
	if err == nil {
		err = hello(conn)
	}
	if err != nil {
		t.Fatal(err)
	}
	if own, ok := conn.LocalAddr().(*net.TCPAddr); !ok || own.IP.String() != "192.168.1.2" {
		t.Errorf("connected from %v", conn.LocalAddr())
	}
	n.untilItHangsUp(want)
	n.wantRoutes()
	if err := alive(conn); err != nil {
		t.Error(err)
	}
}

// The kernel keeps a route whose source address is removed. Processes of the node could
// not use it.
func TestAddressOfProcessesGoes(t *testing.T) {
	n := newTopology(t)
	n.serve("10.244.1.2:8080")
	want := desired(leading(childVIP, model.TCP, "10.244.1.2:8080"))
	want.Node.NodePortAddresses = []netip.Addr{netip.MustParseAddr("192.168.1.2")}
	n.sync(want)
	n.ip(n.node, "addr del 192.168.1.2/32 dev lo")
	if stats := n.sync(want); stats.Repaired != 1 {
		t.Errorf("%+v", stats)
	}
	n.wantRoutes("10.96.0.1/32")
	n.meets(n.node, childVIP, 1)
}

// yieldTo does what the agent does before it programs another mode.
func (n *topology) yieldTo(other dataplane.Dataplane) {
	n.t.Helper()
	if err := errors.Join(other.Incoming(n.t.Context(), dataplane.Proxy), n.d.Outgoing(n.t.Context(), dataplane.NAT)); err != nil {
		n.t.Fatal(err)
	}
}

// released does what the agent does while another mode is active.
func (n *topology) released(want model.Desired) (time.Duration, error) {
	return n.d.Released(n.t.Context(), dataplane.NAT, want, nil)
}

// releaseRules lets another mode remove its rules, and checks that it asks for some time first.
func (n *topology) releaseRules(other dataplane.Dataplane, want model.Desired) {
	n.t.Helper()
	if wait, err := other.Released(n.t.Context(), dataplane.Proxy, want, nil); wait == 0 || err != nil {
		n.t.Fatalf("does not wait: %v, %v", wait, err)
	}
}

// untilItHangsUp waits until the sockets are closed, after another mode took over.
func (n *topology) untilItHangsUp(want model.Desired) {
	n.t.Helper()
	eventually(n.t, "the sockets are closed", func() bool {
		if _, err := n.released(want); err != nil {
			n.t.Fatal(err)
		}
		return len(n.d.frontends) == 0
	})
}

// Connection tracking keeps the entry of a connection that was open when it ended, for days.
// The next connection from the same port must not follow it.
func TestLeftoversOfConnectionTracking(t *testing.T) {
	n := newTopology(t)
	n.serve("10.244.1.2:8080")
	want := desired(leading(childVIP, model.TCP, "10.244.1.2:8080"))
	n.sync(want)
	open := n.connected()
	client := netip.MustParseAddrPort(open.LocalAddr().String())
	leftover, elsewhere := netip.AddrPortFrom(client.Addr(), client.Port()^1), netip.MustParseAddrPort("10.244.1.2:8080")
	vip := netip.MustParseAddrPort(childVIP)
	table := conntrack.NewTable(int(n.node))
	defer table.Close()
	for _, err := range []error{table.Establish(leftover, vip), table.Establish(client, vip), table.Establish(leftover, elsewhere)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	n.yieldTo(n.withNFTables())
	got := map[string]bool{}
	err := table.Dump(t.Context(), conntrack.Filter{Protocol: unix.IPPROTO_TCP}, func(e conntrack.Entry) {
		for _, source := range []netip.AddrPort{leftover, client} {
			if e.Source == source {
				got[e.Source.String()+" to "+e.Destination.String()] = true
			}
		}
	})
	wantEntries := map[string]bool{client.String() + " to " + childVIP: true, leftover.String() + " to " + elsewhere.String(): true}
	if diff := cmp.Diff(wantEntries, got); diff != "" || err != nil {
		t.Errorf("entries (-want +got): %s%v", diff, err)
	}
	if err := alive(open); err != nil {
		t.Error("the open connection:", err)
	}
}
