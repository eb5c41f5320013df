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

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/internal/desiredtest"
	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
	"github.com/fairlead-proxy/fairlead/agent/kernel/conntrack"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// remember has connection tracking remember a connection that the mode before has given a port
// of the node.
func (n *topology) remember(port int) {
	n.t.Helper()
	n.rememberFrom(netip.AddrPortFrom(netip.MustParseAddr("203.0.113.9"), uint16(port)), "10.96.0.9", port)
}

// rememberAll has it remember one for each port that the node uses.
func (n *topology) rememberAll(first, count int) {
	n.t.Helper()
	n.usePorts(first, count)
	for port := range count {
		n.remember(first + port)
	}
}

// usePorts has the node connect from some ports only.
func (n *topology) usePorts(first, count int) {
	n.t.Helper()
	netnstest.Do(n.t, n.node, func() error {
		return os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", fmt.Appendln(nil, first, first+count-1), 0)
	})
}

// rememberFrom has it remember one from an address to a Service.
func (n *topology) rememberFrom(client netip.AddrPort, service string, port int) {
	n.t.Helper()
	n.conntrack("-I --proto tcp --src", client.Addr(), "--sport", client.Port(), "--dst", service, "--dport 80 --reply-src 10.244.1.2 --reply-port-src 8080",
		"--reply-dst 10.244.1.1 --reply-port-dst", port, "--state ESTABLISHED --status SEEN_REPLY,ASSURED --timeout 600")
}

// conntrack runs conntrack(8) on the node.
func (n *topology) conntrack(arguments ...any) {
	n.t.Helper()
	netnstest.Do(n.t, n.node, func() error {
		out, err := exec.Command("conntrack", strings.Fields(fmt.Sprintln(arguments...))...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// onward returns the address from which we have opened the only connection to an endpoint.
func (n *topology) onward() string {
	n.t.Helper()
	eventually(n.t, "one connection is open", func() bool { return len(n.d.proxy.open.toEndpoints()) == 1 })
	return n.d.proxy.open.toEndpoints()[0].client.String()
}

// While the kernel tracks connections, it gives another port to one whose port it has given
// before. Ours would end when tracking does, so it is opened from a port that nothing has.
func TestConnectionsKeepTheirPorts(t *testing.T) {
	n := newTopology(t)
	n.serve("10.244.1.2:8080")
	n.sync(desired(leading(childVIP, model.TCP, "10.244.1.2:8080")))
	if err := n.withNFTables().Incoming(t.Context(), dataplane.Proxy); err != nil {
		t.Fatal(err)
	}
	const first, count = 40000, 4
	n.usePorts(first, count)
	for free := first; free < first+count; free++ {
		n.conntrack("--flush")
		for port := first; port < first+count; port++ {
			if port != free {
				n.remember(port)
			}
		}
		conn, err := n.dial(n.outside, "tcp", childVIP)
		var line string
		if err == nil {
			line, err = bufio.NewReader(conn).ReadString('\n')
		}
		if err != nil {
			t.Fatal(err)
		}
		own := n.onward()
		if _, seen, _ := strings.Cut(strings.TrimSpace(line), " "); seen != own || own != fmt.Sprint("10.244.1.1:", free) {
			t.Errorf("only port %d is free: a connection from %s, which the endpoint sees from %s", free, own, seen)
		}
		reset(conn.(*net.TCPConn))
		eventually(t, "it is closed", func() bool { return len(n.d.proxy.open.toEndpoints()) == 0 })
	}
}

// If each port has been given before, a connection with another one is better than none. What has
// the ports may be open: the kernel has tracked all.
func TestNoPortIsKept(t *testing.T) {
	n := newTopology(t)
	n.serve("10.244.1.2:8080")
	other := n.withNFTables()
	n.sync(desired(leading(childVIP, model.TCP, "10.244.1.2:8080")))
	if err := other.Incoming(t.Context(), dataplane.Proxy); err != nil {
		t.Fatal(err)
	}
	const count = 2 * portTries
	n.rememberAll(40000, count)
	open := n.connected()
	n.yieldTo(other)
	if err := alive(open); err != nil {
		t.Error(err)
	}
	table, there := conntrack.NewTable(int(n.node)), 0
	defer table.Close()
	err := table.Dump(t.Context(), conntrack.Filter{Protocol: unix.IPPROTO_TCP, Port: 80}, func(e conntrack.Entry) {
		if e.Source.Addr().String() == "203.0.113.9" {
			there++
		}
	})
	if there != count || err != nil {
		t.Errorf("%d of %d entries of others are left, %v", there, count, err)
	}
}

// A connection to an endpoint is opened again if tracking begins between the packets of its handshake,
// and gives the last one another port: the endpoint resets it, before or after we take it for open.
func TestTrackingBeginsInAHandshake(t *testing.T) {
	for range 8 {
		t.Run("", func(t *testing.T) {
			n := newTopology(t)
			n.serve("10.244.1.2:8080")
			other := n.withNFTables()
			n.sync(desired(leading(childVIP, model.TCP, "10.244.1.2:8080")))
			begin := func() {
				if err := other.Incoming(t.Context(), dataplane.Proxy); err != nil {
					t.Fatal(err)
				}
			}
			begin() // a kernel that does not track remembers nothing
			n.rememberAll(40000, 2*portTries)
			if err := other.Cleanup(t.Context()); err != nil {
				t.Fatal(err)
			}
			answer := n.withhold("10.244.1.2")
			conn, err := n.dial(n.outside, "tcp", childVIP)
			if err != nil {
				t.Fatal(err)
			}
			answer(begin)
			if err := hello(conn); err != nil {
				t.Error(err)
			}
		})
	}
}

// withhold has the first packets of a Pod to the node wait, until answer has run something: the
// Pod does not know the node's link layer address before.
func (n *topology) withhold(pod string) (answer func(before func())) {
	n.t.Helper()
	links := map[netns.NsHandle]string{}
	for space, link := range map[netns.NsHandle]string{n.node: "pod0", n.pods: "eth0"} {
		netnstest.Do(n.t, space, func() error {
			l, err := net.InterfaceByName(link)
			if err == nil {
				links[space] = l.HardwareAddr.String()
			}
			return err
		})
	}
	n.ip(n.node, "neigh replace "+pod+" lladdr "+links[n.pods]+" dev pod0")
	netnstest.Do(n.t, n.node, func() error { // answer no question about any address
		return os.WriteFile("/proc/sys/net/ipv4/conf/pod0/arp_ignore", []byte("8"), 0)
	})
	n.ip(n.pods, "neigh flush dev eth0")
	return func(before func()) {
		n.t.Helper()
		eventually(n.t, "the Pod has something to send", func() (waits bool) {
			netnstest.Do(n.t, n.pods, func() error {
				out, err := exec.Command("ip", "neigh", "show", "10.244.1.1").Output()
				waits = strings.Contains(string(out), "INCOMPLETE")
				return err
			})
			return waits
		})
		before()
		n.ip(n.pods, "neigh replace 10.244.1.1 lladdr "+links[n.node]+" dev eth0")
	}
}

// A connection that is opened after tracking has ended has the port for itself when tracking begins
// again. Minutes after the kernel has tracked one it is not asked any more.
func TestPortsAfterTracking(t *testing.T) {
	n, clk := newTopology(t), clocktesting.NewFakeClock(time.Unix(1000, 0))
	asked, table := newTracking(int(n.node), clk), conntrack.NewTable(int(n.node))
	t.Cleanup(asked.table.Close)
	t.Cleanup(table.Close)
	const port = 40000
	ours := connection{netip.MustParseAddrPort(fmt.Sprint("10.244.1.1:", port)), netip.MustParseAddrPort("10.244.1.2:8080")}
	left := func() bool {
		_, found, err := table.Find(ours.local, ours.client)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	// An earlier connection from a client's port, which was translated.
	arrives := connection{netip.MustParseAddrPort(fmt.Sprint("203.0.113.9:", port)), netip.MustParseAddrPort("10.96.0.9:80")}
	for _, step := range []struct {
		name    string
		after   time.Duration
		tracked bool // ours, at this time
		left    bool // the entry of the other
	}{
		{"when the mode begins", 0, false, false},
		{"some minutes later", remembered - 1, true, true},
		{"minutes after that", remembered - 1, false, false},
		{"and much later", 1, false, true},
	} {
		clk.Step(step.after)
		if step.name == "when the mode begins" {
			asked.expect()
		}
		if step.tracked {
			if err := table.Establish(ours.client, ours.local); err != nil {
				t.Fatal(err)
			}
		} else {
			n.remember(port)
		}
		if asked.changesPort(ours) {
			t.Errorf("%s: the port is changed", step.name)
		}
		if left() != step.left {
			t.Errorf("%s: an entry is left: %v", step.name, !step.left)
		}
		n.conntrack("--flush")
		n.remember(port)
		asked.arrived(arrives)
		if want := step.name == "and much later"; left() != want {
			t.Errorf("%s: an entry of the client's port is left: %v", step.name, !want)
		}
		n.conntrack("--flush")
	}
}

// A connection that is open when the kernel begins to track goes on, although connection
// tracking remembers one that had its port.
func TestOpenConnectionKeepsItsPort(t *testing.T) {
	n := newTopology(t)
	n.serve("10.244.1.2:8080")
	after, want := n.withNFTables(), desired(leading(childVIP, model.TCP, "10.244.1.2:8080"))
	n.sync(want)
	open := n.connected()
	_, port, err := net.SplitHostPort(n.onward())
	if err != nil {
		t.Fatal(err)
	}
	var number int
	if _, err := fmt.Sscan(port, &number); err != nil {
		t.Fatal(err)
	}
	n.remember(number)
	n.yieldTo(after)
	desiredtest.Sync(t, after, want)
	if err := errors.Join(alive(open), alive(open)); err != nil {
		t.Error(err)
	}
}

// Nor does the connection of a client to us follow an earlier one from the same port, which
// connection tracking has remembered all the time, or since.
func TestOpenConnectionIsNotTranslated(t *testing.T) {
	for name, since := range map[string]bool{"all the time": false, "since": true} {
		t.Run(name, func(t *testing.T) {
			n := newTopology(t)
			n.serve("10.244.1.2:8080")
			after, want := n.withNFTables(), desired(leading(childVIP, model.TCP, "10.244.1.2:8080"))
			n.sync(want)
			first := n.connected()
			client := netip.MustParseAddrPort(first.LocalAddr().String())
			open := first
			if !since {
				reset(first.(*net.TCPConn))
			}
			n.rememberFrom(client, "10.96.0.1", 50000)
			if !since {
				netnstest.Do(t, n.outside, func() (err error) {
					open, err = (&net.Dialer{Timeout: patience, LocalAddr: net.TCPAddrFromAddrPort(client)}).Dial("tcp", childVIP)
					return err
				})
				defer open.Close()
				if err := hello(open); err != nil {
					t.Fatal(err)
				}
				if err := after.Incoming(t.Context(), dataplane.Proxy); err != nil {
					t.Fatal(err)
				}
			} else {
				n.yieldTo(after)
			}
			desiredtest.Sync(t, after, want)
			if err := errors.Join(alive(open), alive(open)); since && err != nil {
				t.Error(err)
			}
			table := conntrack.NewTable(int(n.node))
			defer table.Close()
			if e, found, err := table.Find(client, netip.MustParseAddrPort(childVIP)); found && e.Seen.Port() == 50000 || err != nil {
				t.Errorf("the earlier one is remembered: %+v, %v", e, err)
			}
		})
	}
}

// The kernel is asked when the mode begins, also again, and when it ends.
func TestTrackingIsExpected(t *testing.T) {
	n := newTopology(t)
	after, want := n.withNFTables(), desired(leading(childVIP, model.TCP, "10.244.1.2:8080"))
	for _, step := range []struct {
		name string
		do   func()
		want bool
	}{
		{"it begins", func() { n.sync(want) }, true},
		{"another look", func() { n.sync(want) }, false},
		{"it ends", func() { n.yieldTo(after) }, true},
		{"it begins again", func() {
			if _, err := n.released(want); err != nil {
				t.Fatal(err)
			}
			n.sync(want)
		}, true},
	} {
		n.d.proxy.tracking.until = time.Time{}
		step.do()
		if asks := !n.d.proxy.tracking.until.IsZero(); asks != step.want {
			t.Errorf("%s: the kernel is asked: %v", step.name, asks)
		}
	}
}
