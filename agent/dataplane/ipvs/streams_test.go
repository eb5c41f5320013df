// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// kernelFamilies are the addresses of Services in the network of the tests.
var kernelFamilies = map[string]struct{ host, endpoint string }{
	"IPv4": {"10.96.0.1", "10.244.0.%d:8080"},
	"IPv6": {"fd00:96::1", "[fd00:244::%d]:8080"},
}

// Streams stay open while their endpoint drains, and while the agent restarts; they end at
// the deadline. A deleted Service waits for them, too.
func TestStreams(t *testing.T) {
	n := newNetwork(t)
	for name, family := range kernelFamilies {
		t.Run(name, func(t *testing.T) {
			vip := net.JoinHostPort(family.host, "80")
			with := func(drain time.Duration, numbers ...int) model.Desired {
				var list []string
				for _, i := range numbers {
					list = append(list, fmt.Sprintf(family.endpoint, i))
				}
				n.o.Drain = drain
				return desiredOf(clusterIP(vip, model.TCP, list...))
			}
			live := func(s *stream) {
				t.Helper()
				if err := s.works(); err != nil {
					t.Errorf("a stream that should live: %v", err)
				}
			}
			gone := func(what string, d model.Desired, is func() bool) {
				t.Helper()
				poll(t, what, func() bool { n.sync(d); return is() })
			}
			first := fmt.Sprintf(family.endpoint, 1)
			addr := func(i int) string {
				host, _, _ := net.SplitHostPort(fmt.Sprintf(family.endpoint, i))
				return host
			}
			table := func(text string) bool { return strings.Contains(n.run("ipvsadm", "-Ln"), text) }

			n.sync(with(time.Hour, 1))
			s := n.dial(vip)
			second := with(time.Hour, 2)
			n.sync(second)
			live(s)
			if got := n.tally(vip, 20, nil); got[addr(2)] != 20 {
				t.Errorf("new connections came to %v", got)
			}
			n.restart()
			if stats := n.sync(second); stats.Operations != 0 {
				t.Errorf("after a restart: %+v", stats)
			}
			live(s)
			if got := n.tally(vip, 20, nil); got[addr(2)] != 20 {
				t.Errorf("after a restart new connections came to %v", got)
			}
			s.cut()
			gone("the first endpoint's end", second, func() bool { return !table(first) })

			s = n.dial(vip)
			gone("the deadline", with(time.Second, 3), func() bool { return !table(addr(2)) })
			if err := s.works(); !errors.Is(err, unix.ECONNRESET) && !errors.Is(err, unix.EPIPE) {
				t.Errorf("after the deadline: %v", err)
			}

			s = n.dial(vip)
			empty := desiredOf()
			n.sync(empty)
			live(s)
			for _, port := range []string{"80", "81"} {
				thread(t, n.clients, func() error {
					if _, err := dial("", net.JoinHostPort(family.host, port), patience); !errors.Is(err, unix.ECONNREFUSED) {
						t.Errorf("port %s of a Service that waits for its last connection: %v", port, err)
					}
					return nil
				})
			}
			s.cut()
			gone("the Service's end", empty, func() bool {
				return !table(family.host) && !strings.Contains(n.run("ip", "addr"), family.host)
			})
		})
	}
}

// Agents restart while a node port, or an external IP for clients outside, waits for its last connection.
func TestRestartsUnderStreams(t *testing.T) {
	const nodePorts, external, one, two = "198.51.100.1:30080", "192.0.2.7:80", "10.244.0.1:8080", "10.244.0.2:8080"
	for name, tc := range map[string]struct {
		vip      string
		frontend *model.Frontend
	}{
		"node port":   {nodePorts, nodePort("30080", one)},
		"external IP": {external, split(clusterIP(external, model.TCP, one, two), one)},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t)
			before, after := desiredOf(tc.frontend), desiredOf()
			before.Node.NodePortAddresses = []netip.Addr{addr("198.51.100.1")}
			after.Node.NodePortAddresses = before.Node.NodePortAddresses
			n.run("ipvsadm", "-A", "-t", "198.51.100.1:22", "-s", "wlc")
			n.run("ipvsadm", "-a", "-t", "198.51.100.1:22", "-r", "10.244.0.3:22", "-m", "-w", "0")
			others := n.run("ipvsadm", "-Sn")
			n.sync(before)
			s := n.dial(tc.vip)
			n.sync(after)
			for range 2 {
				n.restart()
				n.sync(after)
				if err := s.works(); err != nil {
					t.Errorf("the connection: %v", err)
				}
				thread(t, n.clients, func() error {
					if _, err := dial("", tc.vip, patience); !errors.Is(err, unix.ECONNREFUSED) {
						t.Errorf("a new connection: %v", err)
					}
					return nil
				})
			}
			s.cut()
			poll(t, "the end of the virtual servers", func() bool { n.sync(after); return n.run("ipvsadm", "-Sn") == others })
			if out := n.run("ip", "addr"); strings.Contains(out, "192.0.2.7") {
				t.Errorf("an address is left:\n%s", out)
			}
		})
	}
}

// UDP flows stay with an endpoint that serves, and move when it no longer does.
func TestUDPFlow(t *testing.T) {
	n := newNetwork(t)
	for name, family := range kernelFamilies {
		t.Run(name, func(t *testing.T) {
			vip := net.JoinHostPort(family.host, "53")
			one, two := fmt.Sprintf(family.endpoint, 1), fmt.Sprintf(family.endpoint, 2)
			n.sync(desiredOf(clusterIP(vip, model.UDP, one)))
			var c net.Conn
			thread(t, n.clients, func() (err error) { c, err = net.Dial("udp", vip); return err })
			defer c.Close()
			ask := func() string {
				b := make([]byte, 64)
				if _, err := c.Write([]byte("who?")); err != nil {
					return err.Error()
				}
				if err := c.SetReadDeadline(time.Now().Add(impatience)); err != nil {
					return err.Error()
				}
				k, err := c.Read(b)
				if err != nil {
					return err.Error()
				}
				return string(b[:k])
			}
			is := func(e string) func() bool {
				host, _, _ := net.SplitHostPort(e)
				return func() bool { return ask() == host }
			}
			poll(t, "an answer", is(one))
			leaving := clusterIP(vip, model.UDP, two)
			leaving.Serving = endpoints(one, two)
			n.sync(desiredOf(leaving))
			for range 3 {
				if !is(one)() {
					t.Error("the flow has left an endpoint that serves")
				}
			}
			n.sync(desiredOf(clusterIP(vip, model.UDP, two)))
			poll(t, "the flow to move", is(two))
			n.sync(desiredOf())
		})
	}
}

// All endpoints are replaced, one after another, under new connections and open
// streams. An emulator may be too slow for the rate; the log says what it was.
func TestRollingReplacement(t *testing.T) {
	n := newNetwork(t)
	const vip, half, rate = "10.96.0.1:80", endpointCount / 2, 200 // connections a second
	var list []string
	for i := range endpointCount {
		list = append(list, fmt.Sprintf("10.244.0.%d:8080", i+1))
	}
	n.sync(desiredOf(clusterIP(vip, model.TCP, list[:half]...)))
	var streams []*stream
	for range 50 {
		streams = append(streams, n.dial(vip))
	}
	var stop atomic.Bool
	var connected atomic.Int64
	defer stop.Store(true)
	var clients []<-chan error
	began := time.Now()
	for range 4 {
		clients = append(clients, start(n.clients, func() error {
			ticks := time.NewTicker(4 * time.Second / rate)
			defer ticks.Stop()
			for ; !stop.Load(); <-ticks.C {
				if err := knock(netip.MustParseAddrPort(vip)); err != nil {
					return err
				}
				connected.Add(1)
			}
			return nil
		}))
	}
	in := slices.Clone(list[:half])
	have := desiredOf(clusterIP(vip, model.TCP, in...))
	for step := range 3 * half {
		i := step % half
		from, to := i, half+i
		if step/half == 1 { // and back
			from, to = to, from
		}
		in = append(slices.DeleteFunc(in, func(e string) bool { return e == list[from] }), list[to])
		slices.Sort(in)
		now := desiredOf(clusterIP(vip, model.TCP, in...))
		before := connected.Load()
		thread(t, n.node, func() error {
			_, err := n.d.Apply(t.Context(), model.Diff(have, now))
			return err
		})
		have = now
		poll(t, "connections", func() bool { return connected.Load() >= before+40 })
	}
	stop.Store(true)
	for _, failed := range clients {
		if err := <-failed; err != nil {
			t.Errorf("after %d connections: %v", connected.Load(), err)
		}
	}
	for _, s := range streams {
		if err := s.works(); err != nil {
			t.Errorf("a stream to %s: %v", s.endpoint, err)
		}
	}
	t.Logf("%d connections during %d replacements (%.0f a second), %d streams",
		connected.Load(), 3*half, float64(connected.Load())/time.Since(began).Seconds(), len(streams))
}

// knock opens a connection and resets it, from the calling thread's namespace. Most of
// what a net.Conn takes in an emulator is work of the runtime.
func knock(at netip.AddrPort) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	limit := unix.NsecToTimeval(int64(patience))
	return errors.Join(
		unix.SetsockoptLinger(s, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}),
		unix.SetsockoptTimeval(s, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit),
		unix.Connect(s, &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())}),
		unix.Close(s))
}
