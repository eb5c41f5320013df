// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/vishvananda/netns"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
	"github.com/fairlead-proxy/fairlead/agent/kernel/netdev"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Node is a node, whose namespace it is, between Pods and clients outside:
//
//	pods ------------ node ------------- outside
//	10.244.1.2-9      192.168.0.2        203.0.113.2
//	fd00:244::2-9     fd00:168::2        2001:db8::2
//	                    |
//	                  client Pod, 10.244.2.2, fd00:244:2::2
//
// Packets without a route leave by another link, to which no host is attached.
// The Pods are endpoints and share a namespace, so they are no clients.
type Node struct {
	*netnstest.Space
	Pods, Client, Outside *netnstest.Space

	options dataplane.Options // of a Sync without options
}

// The addresses of the node that node ports answer on.
var nodeAddresses = []netip.Addr{netip.MustParseAddr("192.168.0.2"), netip.MustParseAddr("fd00:168::2")}

// NewNode makes a node, and ends it with the test.
func NewNode(t testing.TB) *Node {
	t.Helper()
	ownLock()
	n := &Node{Space: netnstest.NewSpace(t), Pods: netnstest.NewSpace(t), Client: netnstest.NewSpace(t), Outside: netnstest.NewSpace(t)}
	n.Feed(`addr add 192.168.0.2/32 dev lo
addr add fd00:168::2/128 dev lo nodad
`, "ip", "-batch", "-")
	for name, value := range map[string]string{"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1"} {
		if err := n.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	n.connect("pod0", n.Pods, "10.244.1", "fd00:244:", 8)
	n.connect("pod1", n.Client, "10.244.2", "fd00:244:2:", 1)
	n.connect("out0", n.Outside, "203.0.113", "2001:db8:", 1)
	n.connectUplink(netnstest.New(t))
	n.eventually("the links are up", func() bool {
		for _, link := range []string{"pod0", "pod1", "out0", "up0"} {
			if !strings.Contains(n.Run("ip", "-o", "link", "show", "dev", link), "state UP") {
				return false
			}
		}
		addresses := n.Run("ip", "-6", "route", "show", "table", "local", "type", "local") // they come a bit later
		return strings.Count(addresses, "\n") == 9
	})
	return n
}

// ownLock gives the programs of iptables-legacy in this process a lock of its own, which
// ends with it: those of the machine are not concerned.
var ownLock = sync.OnceFunc(func() {
	var err error
	if lock, err = os.CreateTemp("", "xtables-lock"); err != nil {
		panic(err)
	}
	path := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), lock.Fd())
	if err := errors.Join(os.Remove(lock.Name()), os.Setenv("XTABLES_LOCKFILE", path)); err != nil {
		panic(err)
	}
})

var lock *os.File // stays open

// connect adds a link of the node, .1, with some addresses from .2 at its other end. No
// link has an address that appears later by itself; without fe80::1 the kernel would not
// resolve the neighbours that it forwards to.
func (n *Node) connect(name string, peer *netnstest.Space, net4, net6 string, count int) {
	n.T.Helper()
	n.Feed(fmt.Sprintf(`link add %[1]s type veth peer name eth0 netns /proc/%[2]d/fd/%[3]d
link set %[1]s addrgenmode none
addr add %[4]s.1/24 dev %[1]s
addr add %[5]s:1/64 dev %[1]s nodad
addr add fe80::1/64 dev %[1]s nodad
link set %[1]s up
`, name, os.Getpid(), int(peer.Handle), net4, net6), "ip", "-batch", "-")
	lines := "link set eth0 addrgenmode none\nlink set eth0 up\naddr add fe80::2/64 dev eth0 nodad\n"
	for i := range count {
		lines += fmt.Sprintf("addr add %s.%d/24 dev eth0\naddr add %s:%x/64 dev eth0 nodad\n", net4, i+2, net6, i+2)
	}
	peer.Feed(lines+fmt.Sprintf("route add default via %s.1\nroute add default via %s:1\n", net4, net6), "ip", "-batch", "-")
}

// connectUplink adds the link of the node's default route, which leads to no host. Packets
// of clients to a Service never leave by the link that they arrived by: the kernel would
// send ICMP redirects.
func (n *Node) connectUplink(nowhere netns.NsHandle) {
	n.T.Helper()
	n.Feed(fmt.Sprintf(`link add up0 type veth peer name eth0 netns /proc/%d/fd/%d
link set up0 addrgenmode none
addr add 198.19.0.2/24 dev up0
addr add fd00:19::2/64 dev up0 nodad
link set up0 up
neigh add 198.19.0.1 lladdr 02:00:00:00:00:01 dev up0
neigh add fd00:19::1 lladdr 02:00:00:00:00:01 dev up0
route add default via 198.19.0.1
route add default via fd00:19::1
`, os.Getpid(), int(nowhere)), "ip", "-batch", "-")
	netnstest.Do(n.T, nowhere, func() error { return exec.Command("ip", "link", "set", "eth0", "up").Run() })
}

// Env is where a mode is opened to program the node.
func (n *Node) Env() dataplane.Env {
	return dataplane.Env{NetNS: int(n.Handle), Log: logr.Discard()}
}

// Open opens a Dataplane on the node. It is closed with the test, if not before.
func (n *Node) Open(open func(dataplane.Env) (dataplane.Dataplane, error)) dataplane.Dataplane {
	n.T.Helper()
	d, err := n.OnNode(open)(n.Env())
	if err != nil {
		n.T.Fatal("open:", err)
	}
	n.T.Cleanup(func() { _ = d.Close() })
	return d
}

// OnNode has a Dataplane called on threads that are in the node's namespace: the kernel's
// parameters are those of the thread that asks for them.
func (n *Node) OnNode(open func(dataplane.Env) (dataplane.Dataplane, error)) func(dataplane.Env) (dataplane.Dataplane, error) {
	return func(e dataplane.Env) (d dataplane.Dataplane, err error) {
		err = netdev.Do(int(n.Handle), func() error {
			d, err = open(e)
			return err
		})
		if err != nil {
			return nil, err
		}
		return &onNode{Dataplane: d, space: int(n.Handle), options: n.options}, nil
	}
}

type onNode struct {
	dataplane.Dataplane
	space   int
	options dataplane.Options
	closed  bool
}

// inside is the Dataplane for threads that are in the node's namespace already.
func (d *onNode) inside() dataplane.Dataplane {
	in := *d
	in.space = 0
	return &in
}

func (d *onNode) Probe(ctx context.Context, o dataplane.Options) (c dataplane.Capability, err error) {
	err = netdev.Do(d.space, func() error {
		c, err = d.Dataplane.Probe(ctx, o)
		return err
	})
	return c, err
}

func (d *onNode) Sync(ctx context.Context, desired model.Desired, o dataplane.Options) (r dataplane.Result, err error) {
	if o == nil {
		o = d.options
	}
	err = netdev.Do(d.space, func() error {
		r, err = d.Dataplane.Sync(ctx, desired, o)
		return err
	})
	return r, err
}

func (d *onNode) Apply(ctx context.Context, delta model.Delta) (r dataplane.Result, err error) {
	err = netdev.Do(d.space, func() error {
		r, err = d.Dataplane.Apply(ctx, delta)
		return err
	})
	return r, err
}

func (d *onNode) Watch(ctx context.Context, changed func()) error {
	return netdev.Do(d.space, func() error { return d.Dataplane.Watch(ctx, changed) })
}

func (d *onNode) Cleanup(ctx context.Context) error {
	return netdev.Do(d.space, func() error { return d.Dataplane.Cleanup(ctx) })
}

func (d *onNode) Close() error {
	if d.closed {
		return nil
	}
	d.closed = true
	return netdev.Do(d.space, d.Dataplane.Close)
}

func (d *onNode) Incoming(ctx context.Context, from dataplane.Kind) error {
	return netdev.Do(d.space, func() error { return d.Dataplane.Incoming(ctx, from) })
}

func (d *onNode) Outgoing(ctx context.Context, to dataplane.Kind) error {
	return netdev.Do(d.space, func() error { return d.Dataplane.Outgoing(ctx, to) })
}

func (d *onNode) Released(ctx context.Context, to dataplane.Kind, desired model.Desired, o dataplane.Options) (wait time.Duration, err error) {
	err = netdev.Do(d.space, func() error {
		wait, err = d.Dataplane.Released(ctx, to, desired, o)
		return err
	})
	return wait, err
}

// patience is how long a test waits for what should happen, impatience for what should
// not.
const (
	patience   = 30 * time.Second
	impatience = 300 * time.Millisecond
)

// eventually waits until a condition holds.
func (n *Node) eventually(what string, so func() bool) {
	n.T.Helper()
	for deadline := time.Now().Add(patience); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			n.T.Fatalf("not so after %s: %s", patience, what)
		}
	}
}
