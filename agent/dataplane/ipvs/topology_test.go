// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"github.com/vishvananda/netns"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// network is a node, on the thread of the test, between clients and endpoints:
//
//	clients ---------- node ---------- endpoints
//	198.51.100.2-101   10.244.0.254    10.244.0.1-8, port 8080
//	2001:db8::2-       fd00:244::fe    fd00:244::1-8
//
// An endpoint sends its address when a connection begins, and then echoes.
type network struct {
	t                        *testing.T
	node, clients, endpoints netns.NsHandle
	d                        *Dataplane
	o                        Settings // to program with
}

const (
	clientCount   = 100
	endpointCount = 8
)

func newNetwork(t *testing.T) *network {
	t.Helper()
	enterSpace(t)
	n := &network{t: t, o: defaults(), clients: newSpace(t), endpoints: newSpace(t)}
	node, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	n.node = node
	t.Cleanup(func() { node.Close() })
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/all/forwarding", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	run(t, "ip", "route", "del", "default")
	n.link("clients", n.clients, "198.51.100.1/24", "2001:db8::1/64", clientCount, func(i int) (string, string) {
		return fmt.Sprintf("198.51.100.%d/24", i+2), fmt.Sprintf("2001:db8::%x/64", i+2)
	})
	n.link("endpoints", n.endpoints, "10.244.0.254/24", "fd00:244::fe/64", endpointCount, func(i int) (string, string) {
		return fmt.Sprintf("10.244.0.%d/24", i+1), fmt.Sprintf("fd00:244::%x/64", i+1)
	})
	n.serve()
	n.restart()
	return n
}

// newSpace makes a network namespace.
func newSpace(t *testing.T) (s netns.NsHandle) {
	t.Helper()
	thread(t, 0, func() (err error) {
		s, err = netns.New()
		return err
	})
	t.Cleanup(func() { s.Close() })
	return s
}

// thread runs f on a separate thread in a network namespace.
func thread(t *testing.T, in netns.NsHandle, f func() error) {
	t.Helper()
	if err := <-start(in, f); err != nil {
		t.Fatal(err)
	}
}

// start does the same without waiting.
func start(in netns.NsHandle, f func() error) <-chan error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with f
		if in > 0 {
			if err := netns.Set(in); err != nil {
				done <- err
				return
			}
		}
		done <- f()
	}()
	return done
}

// link connects a space with the node.
func (n *network) link(name string, s netns.NsHandle, gateway4, gateway6 string, count int, addresses func(int) (string, string)) {
	n.t.Helper()
	run(n.t, "ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(s)))
	run(n.t, "ip", "link", "set", name, "up")
	run(n.t, "ip", "addr", "add", gateway4, "dev", name)
	run(n.t, "ip", "addr", "add", gateway6, "dev", name, "nodad")
	var batch strings.Builder
	fmt.Fprintln(&batch, "link set lo up\nlink set eth0 up")
	for i := range count {
		v4, v6 := addresses(i)
		fmt.Fprintf(&batch, "addr add %s dev eth0\naddr add %s dev eth0 nodad\n", v4, v6)
	}
	for _, g := range []string{gateway4, gateway6} {
		fmt.Fprintf(&batch, "route add default via %s\n", netip.MustParsePrefix(g).Addr())
	}
	file := n.t.TempDir() + "/batch"
	if err := os.WriteFile(file, []byte(batch.String()), 0o600); err != nil {
		n.t.Fatal(err)
	}
	thread(n.t, s, func() error { run(n.t, "ip", "-batch", file); return nil })
}

// serve answers as endpoints do, until the test ends.
func (n *network) serve() {
	n.t.Helper()
	thread(n.t, n.endpoints, func() error {
		l, err := net.Listen("tcp", ":8080")
		if err != nil {
			return err
		}
		n.t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					fmt.Fprintf(c, "%-40s", netip.MustParseAddrPort(c.LocalAddr().String()).Addr().Unmap())
					io.Copy(c, c)
				}()
			}
		}()
		for i := range endpointCount {
			for _, name := range []string{fmt.Sprintf("10.244.0.%d", i+1), fmt.Sprintf("fd00:244::%x", i+1)} {
				if err := n.serveUDP(name); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// serveUDP answers each datagram with the endpoint's address.
func (n *network) serveUDP(name string) error {
	u, err := net.ListenPacket("udp", net.JoinHostPort(name, "8080"))
	if err != nil {
		return err
	}
	n.t.Cleanup(func() { u.Close() })
	go func() {
		for b := make([]byte, 16); ; {
			_, from, err := u.ReadFrom(b)
			if err != nil {
				return
			}
			if _, err := u.WriteTo([]byte(name), from); err != nil {
				return
			}
		}
	}()
	return nil
}

// run runs a command in the node, whatever thread the calling test is on.
func (n *network) run(args ...string) (out string) {
	n.t.Helper()
	thread(n.t, n.node, func() error { out = run(n.t, args...); return nil })
	return out
}

// restart simulates a new agent.
func (n *network) restart() {
	n.t.Helper()
	var err error
	if n.d, err = New(Options{NetNS: int(n.node), Log: testr.New(n.t)}); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { n.d.Close() })
}

// sync runs on a thread in the node, which subtests do not: sysctls depend on the thread.
func (n *network) sync(d model.Desired) (stats dataplane.Result) {
	n.t.Helper()
	thread(n.t, n.node, func() (err error) {
		stats, err = n.d.Sync(context.Background(), d, n.o)
		return err
	})
	return stats
}

const (
	// patience is how long a client waits for an expected answer, impatience for an
	// unexpected one.
	patience   = 30 * time.Second
	impatience = 500 * time.Millisecond
)

// stream is a connection to an endpoint.
type stream struct {
	net.Conn
	endpoint string
}

// dial connects, from the calling thread's namespace. from is empty for any.
func dial(from, to string, timeout time.Duration) (*stream, error) {
	dialer := net.Dialer{Timeout: timeout}
	if from != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	c, err := dialer.Dial("tcp", to)
	if err != nil {
		return nil, err
	}
	name := make([]byte, 40)
	if err := c.SetDeadline(time.Now().Add(timeout)); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(c, name); err != nil {
		return nil, err
	}
	return &stream{c, strings.TrimSpace(string(name))}, nil
}

// cut closes the connection with a reset, so that nothing of it remains.
func (s *stream) cut() {
	_ = s.Conn.(*net.TCPConn).SetLinger(0) // then it is closed properly
	s.Close()
}

// works says whether the stream still carries data both ways.
func (s *stream) works() error {
	if err := s.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := s.Write([]byte("ping")); err != nil {
		return err
	}
	_, err := io.ReadFull(s, make([]byte, 4))
	return err
}

// dial connects from a client; a failure fails the test.
func (n *network) dial(to string) *stream {
	n.t.Helper()
	var s *stream
	thread(n.t, n.clients, func() (err error) {
		s, err = dial("", to, patience)
		return err
	})
	n.t.Cleanup(s.cut)
	return s
}

// tally connects count times, and returns how often each endpoint answered. from returns
// the client of a number; nil: any.
func (n *network) tally(to string, count int, from func(int) string) map[string]int {
	n.t.Helper()
	out := map[string]int{}
	thread(n.t, n.clients, func() error {
		for i := range count {
			client := ""
			if from != nil {
				client = from(i)
			}
			s, err := dial(client, to, patience)
			if err != nil {
				return fmt.Errorf("connection %d: %w", i, err)
			}
			out[s.endpoint]++
			s.cut()
		}
		return nil
	})
	return out
}

// poll waits until a condition holds.
func poll(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("in vain waited for " + what)
		}
	}
}
