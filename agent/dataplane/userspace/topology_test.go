// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"github.com/vishvananda/netns"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/internal/desiredtest"
	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// patience is how long a test waits for what should happen, impatience for what should
// not.
const (
	patience   = 30 * time.Second
	impatience = 300 * time.Millisecond
)

// topology is a node between Pods and clients outside:
//
//	pods ------------- node ------------- outside
//	10.244.1.2-9       192.168.0.2        203.0.113.2-3
//	fd00:244::2-9                         2001:db8::2-3
type topology struct {
	t                   *testing.T
	node, pods, outside netns.NsHandle
	d                   *Dataplane
}

func newTopology(t *testing.T) *topology {
	t.Helper()
	n := &topology{t: t, node: netnstest.New(t), pods: netnstest.New(t), outside: netnstest.New(t)}
	n.ip(n.node, `link set lo up
addr add 192.168.0.2/32 dev lo
addr add 192.168.1.2/32 dev lo`)
	n.connect("pod0", n.pods, "10.244.1.1/24", "fd00:244::1/64", []string{"10.244.1.%d/24", "fd00:244::%d/64"}, 8)
	n.connect("out0", n.outside, "203.0.113.1/24", "2001:db8::1/64", []string{"203.0.113.%d/24", "2001:db8::%d/64"}, 2)
	n.restart()
	return n
}

// ip runs lines of ip(8) in a namespace.
func (n *topology) ip(space netns.NsHandle, lines string) {
	n.t.Helper()
	netnstest.Do(n.t, space, func() error {
		ip := exec.Command("ip", "-batch", "-")
		ip.Stdin = strings.NewReader(lines + "\n")
		if out, err := ip.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// connect makes a link of the node, with some addresses at its other end.
func (n *topology) connect(name string, peer netns.NsHandle, gateway4, gateway6 string, formats []string, count int) {
	n.t.Helper()
	n.ip(n.node, fmt.Sprintf("link add %[1]s type veth peer name peer-%[1]s netns /proc/%d/fd/%d", name, os.Getpid(), int(peer)))
	n.ip(n.node, fmt.Sprintf("addr add %[2]s dev %[1]s\naddr add %[3]s dev %[1]s nodad\nlink set %[1]s up", name, gateway4, gateway6))
	lines := []string{"link set lo up", fmt.Sprintf("link set peer-%s name eth0", name), "link set eth0 up"}
	for i := range count {
		lines = append(lines, fmt.Sprintf("addr add "+formats[0]+" dev eth0", i+2), fmt.Sprintf("addr add "+formats[1]+" dev eth0 nodad", i+2))
	}
	for _, g := range []string{gateway4, gateway6} {
		lines = append(lines, "route add default via "+netip.MustParsePrefix(g).Addr().String())
	}
	n.ip(peer, strings.Join(lines, "\n"))
}

// restart replaces the Dataplane by a new one.
func (n *topology) restart() {
	n.t.Helper()
	if n.d != nil {
		if err := n.d.Close(); err != nil {
			n.t.Fatal(err)
		}
	}
	d, err := New(Options{NetNS: int(n.node), Log: testr.New(n.t)})
	if err != nil {
		n.t.Fatal(err)
	}
	n.d = d
	n.t.Cleanup(func() { _ = d.Close() })
}

// desired is the desired state of a node with some frontends.
func desired(frontends ...*model.Frontend) model.Desired {
	out := model.NewDesired()
	out.Node.PodCIDRs = []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:244::/64")}
	for _, f := range frontends {
		out.Frontends[f.Key] = f
	}
	return out
}

// leading returns a frontend that forwards all clients to some endpoints.
func leading(address string, protocol model.Protocol, to ...string) *model.Frontend {
	b := forward(to...)
	if len(to) == 0 {
		b = model.Backend{Verdict: model.Reject}
	}
	f := &model.Frontend{Key: key(address, protocol), Kind: model.KindClusterIP, Internal: b, External: b}
	if protocol == model.UDP {
		f.Serving = b.Endpoints
	}
	return f
}

func (n *topology) sync(want model.Desired) dataplane.Result {
	n.t.Helper()
	return desiredtest.Sync(n.t, n.d, want)
}

func (n *topology) apply(changes ...model.Change) dataplane.Result {
	n.t.Helper()
	return desiredtest.Apply(n.t, n.d, model.Delta{Frontends: changes})
}

// serve answers on addresses of Pods, TCP and UDP: with a line of its own address and the
// client's, and then with what it receives.
func (n *topology) serve(addresses ...string) {
	n.t.Helper()
	for _, a := range addresses {
		netnstest.Do(n.t, n.pods, func() error {
			l, err := net.Listen("tcp", a)
			if err != nil {
				return err
			}
			u, err := net.ListenPacket("udp", a)
			n.t.Cleanup(func() { l.Close(); u.Close() })
			go serveTCP(l)
			go serveUDP(u, a)
			return err
		})
	}
}

func serveTCP(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			fmt.Fprintf(c, "%s %s\n", c.LocalAddr(), c.RemoteAddr())
			for b := make([]byte, 64); ; {
				size, err := c.Read(b)
				if err != nil {
					return
				}
				_, _ = c.Write(b[:size])
			}
		}()
	}
}

func serveUDP(u net.PacketConn, name string) {
	for b := make([]byte, maxDatagram); ; {
		size, from, err := u.ReadFrom(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			_, _ = u.WriteTo(append([]byte(name+" "), b[:size]...), from)
		}
	}
}

// dial connects from a namespace.
func (n *topology) dial(space netns.NsHandle, network, to string) (conn net.Conn, err error) {
	n.t.Helper()
	netnstest.Do(n.t, space, func() error {
		conn, err = (&net.Dialer{Timeout: patience}).Dial(network, to)
		return nil
	})
	if err == nil {
		n.t.Cleanup(func() { conn.Close() })
		err = conn.SetDeadline(time.Now().Add(patience))
	}
	return conn, err
}

// ask returns the endpoint that answers, and the client address that it sees.
func (n *topology) ask(space netns.NsHandle, to string) (endpoint, seen string, err error) {
	n.t.Helper()
	conn, err := n.dial(space, "tcp", to)
	if err != nil {
		return "", "", err
	}
	defer conn.Close()
	line, err := bufio.NewReader(conn).ReadString('\n')
	endpoint, seen, _ = strings.Cut(strings.TrimSpace(line), " ")
	return endpoint, seen, err
}

// meets connects a number of times and counts the endpoints.
func (n *topology) meets(space netns.NsHandle, to string, times int) map[string]int {
	n.t.Helper()
	out := map[string]int{}
	for range times {
		endpoint, _, err := n.ask(space, to)
		if err != nil {
			n.t.Fatalf("%s: %v", to, err)
		}
		out[endpoint]++
	}
	return out
}

// answers says whether it is true that an endpoint answers, or, if want is false, that
// there is no answer at all, not even a refusal.
func (n *topology) answers(space netns.NsHandle, network, to string, want bool) (so bool) {
	n.t.Helper()
	wait := impatience
	if want {
		wait = patience
	}
	netnstest.Do(n.t, space, func() error {
		conn, err := (&net.Dialer{Timeout: wait}).Dial(network, to)
		if err == nil && network == "udp" {
			_ = conn.SetDeadline(time.Now().Add(wait))
			_, _ = conn.Write([]byte("?"))
			_, err = conn.Read(make([]byte, 100))
		}
		if conn != nil {
			conn.Close()
		}
		var timeout net.Error
		so = want && err == nil || !want && errors.As(err, &timeout) && timeout.Timeout()
		return nil
	})
	return so
}

// echo sends text over a connection and expects want.
func echo(t *testing.T, conn net.Conn, text, want string) {
	t.Helper()
	if _, err := conn.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1024)
	size, err := conn.Read(b)
	if err != nil || string(b[:size]) != want {
		t.Fatalf("got %q, %v, want %q", b[:size], err, want)
	}
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not so after %s: %s", patience, what)
		}
	}
}
