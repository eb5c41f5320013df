// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/localhost"
	"github.com/fairlead-proxy/fairlead/agent/internal/desiredtest"
	"github.com/fairlead-proxy/fairlead/agent/kernel/routelocalnet"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// onLocalhost has a few node ports, on localhost only.
func onLocalhost() model.Desired {
	f, d := families[0], model.NewDesired()
	f.desired(&d)
	put(&d, "nodeport:30090/tcp", forwardTo(model.MasqueradeAlways, join(f.node, "8080")))
	d.Node.NodePortAddresses = nil
	d.Node.NodePortLocalhost = true
	return d
}

// TestLocalhostNodePorts connects to node ports on localhost.
func TestLocalhostNodePorts(t *testing.T) {
	o := newTopology(t)
	o.node.serve("node")
	d, desired := o.node.dataplane(), onLocalhost()
	mustSync(t, d, desired)
	const both = "pod-a sees 10.244.1.1, remote sees 10.0.0.1"
	check := func(want map[string]string) {
		t.Helper()
		for to, want := range want {
			network, addr, _ := strings.Cut(to, " ")
			if got := o.node.askOften(network, addr, patience); got != want {
				t.Errorf("%s: got %q, want %q", to, got, want)
			}
		}
	}
	check(map[string]string{
		"tcp 127.0.0.1:30080":   both,
		"tcp 127.0.0.1:30081":   both, // policy Local: who is on the node reaches all
		"tcp 127.0.0.1:30082":   "refused",
		"tcp 127.0.0.1:30083":   "remote sees 10.0.0.1", // policy Local, none here
		"tcp 127.0.0.1:30090":   "node sees 192.168.0.2",
		"tcp 127.0.0.1:8080":    "node sees 127.0.0.1",
		"tcp 127.0.0.2:30080":   "refused",
		"udp 127.0.0.1:30080":   "refused",
		"tcp [::1]:30080":       "refused",
		"tcp 192.168.0.2:30080": "refused",
	})
	c, err := o.node.dial("tcp", "127.0.0.1:30081", patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	mustSync(t, o.node.dataplane(), desired)
	if said, err := exchange(c, patience); !strings.Contains(said, "sees") {
		t.Errorf("after a restart: %q %v", said, err)
	}
	without := onLocalhost()
	without.Node.NodePortLocalhost = false
	mustApply(t, d, model.Diff(desired, without))
	check(map[string]string{"tcp 127.0.0.1:30080": "refused", "tcp 127.0.0.1:8080": "node sees 127.0.0.1"})
}

// TestLoopbackGuard sends packets of a Pod to the node's loopback (CVE-2020-8558), and
// packets with a source in it.
func TestLoopbackGuard(t *testing.T) {
	o := newTopology(t)
	d, desired := o.node.dataplane(), onLocalhost()
	o.node.Run("sysctl", "-qw", "net.ipv4.conf.all.accept_local=1") // else the kernel itself refuses the second
	heard := make(chan string, 100)
	o.node.Do(func() error {
		u, err := net.ListenPacket("udp", ":8082")
		if err != nil {
			return err
		}
		t.Cleanup(func() { u.Close() })
		go func() {
			for b := make([]byte, 16); ; {
				if _, from, err := u.ReadFrom(b); err == nil {
					heard <- from.String()
				} else {
					return
				}
			}
		}()
		return nil
	})
	o.client.Run("sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1")
	o.client.Run("ip", "route", "del", "table", "local", "local", "127.0.0.0/8")
	o.client.Run("ip", "route", "del", "table", "local", "local", "127.0.0.1")
	o.client.Run("ip", "route", "add", "127.0.0.1", "via", "10.244.1.1", "dev", "eth0", "src", "10.244.1.4")
	send := func(local, remote string) bool {
		t.Helper()
		o.client.Do(func() error {
			dialer := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.MustParseAddrPort(local))}
			c, err := dialer.Dial("udp", remote)
			if err != nil {
				return err
			}
			defer c.Close()
			_, err = c.Write([]byte("?"))
			return err
		})
		select {
		case <-heard:
			return true
		case <-time.After(impatience):
			return false
		}
	}
	check := func(when string, want bool) {
		t.Helper()
		if got := send("10.244.1.4:0", "127.0.0.1:8082"); got != want {
			t.Errorf("%s, to the loopback: heard is %v, want %v", when, got, want)
		}
		o.client.Run("ip", "addr", "add", "127.0.0.1/32", "dev", "eth0")
		if got := send("127.0.0.1:0", "192.168.0.2:8082"); got != want {
			t.Errorf("%s, from the loopback: heard is %v, want %v", when, got, want)
		}
		o.client.Run("ip", "addr", "del", "127.0.0.1/32", "dev", "eth0")
	}
	mustSync(t, d, desired)
	check("guarded", false)
	o.node.Run("nft", "delete", "table", "ip", routelocalnet.TableName)
	check("not guarded", true) // so the test would detect it
	if stats := mustSync(t, d, desired); stats.Repaired == 0 {
		t.Errorf("not repaired: %+v", stats)
	}
	check("repaired", false)
}

// TestLoopbackLeavesOnlyTranslated checks that packets of a process from 127.0.0.1 to
// another machine do not arrive.
func TestLoopbackLeavesOnlyTranslated(t *testing.T) {
	o := newTopology(t)
	mustSync(t, o.node.dataplane(), onLocalhost())
	counter := func() string {
		return o.remote.Run("nft", "list", "chain", "ip", "watch", "input")
	}
	if out, err := o.remote.Try("table ip watch {\nchain input {\ntype filter hook prerouting priority -400\nip saddr 127.0.0.0/8 iifname eth0 counter\n}\n}", "nft", "-f", "-"); err != nil {
		t.Fatal(err, out)
	}
	o.node.ask("tcp", "10.244.2.2:8080", patience) // ARP requests of 127.0.0.1 are not answered
	send := func() {
		o.node.Do(func() error {
			dialer := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}}
			c, err := dialer.Dial("udp", "10.244.2.2:9")
			if err != nil {
				return err
			}
			defer c.Close()
			if _, err = c.Write([]byte("?")); errors.Is(err, unix.EPERM) {
				return nil // dropped
			}
			return err
		})
	}
	send()
	if out := counter(); !strings.Contains(out, "packets 0") {
		t.Error("it has left:", out)
	}
	o.node.Run("nft", "delete", "table", "ip", routelocalnet.TableName)
	send()
	if out := counter(); strings.Contains(out, "packets 0") {
		t.Error("the test would not detect it:", out)
	}
}

// TestRouteLocalnet checks when the sysctl is set, and set back.
func TestRouteLocalnet(t *testing.T) {
	on, off := onLocalhost(), onLocalhost()
	off.Node.NodePortLocalhost = false
	fromOn, toOn := model.Diff(on, off), model.Diff(off, on)
	cases := map[string]struct {
		before string // of everything
		do     func(s *space, d *Dataplane)
		want   string
		guard  bool
	}{
		"not wanted":               {"0", func(_ *space, d *Dataplane) { mustSync(t, d, off) }, "0", false},
		"not wanted, on by others": {"1", func(_ *space, d *Dataplane) { mustSync(t, d, off) }, "1", false},
		"wanted":                   {"0", func(_ *space, d *Dataplane) { mustSync(t, d, on) }, "1", true},
		"wanted later":             {"0", func(_ *space, d *Dataplane) { mustSync(t, d, off); mustApply(t, d, toOn) }, "1", true},
		"wanted no more":           {"0", func(_ *space, d *Dataplane) { mustSync(t, d, on); mustApply(t, d, fromOn) }, "0", false},
		"wanted no more after a restart": {"0", func(s *space, d *Dataplane) {
			mustSync(t, d, on)
			mustSync(t, s.dataplane(), off)
		}, "0", false},
		"still wanted after a restart, then no more": {"0", func(s *space, d *Dataplane) {
			mustSync(t, d, on)
			again := s.dataplane()
			if stats := mustSync(t, again, on); stats.Operations != 0 {
				t.Errorf("after a restart: %+v", stats)
			}
			mustApply(t, again, fromOn)
		}, "0", false},
		"wanted no more, on by others": {"1", func(_ *space, d *Dataplane) { mustSync(t, d, on); mustApply(t, d, fromOn) }, "1", false},
		"cleaned up": {"0", func(s *space, d *Dataplane) {
			mustSync(t, d, on)
			if err := s.dataplane().Cleanup(t.Context()); err != nil {
				t.Error(err)
			}
		}, "0", false},
		"turned off by others": {"0", func(s *space, d *Dataplane) {
			mustSync(t, d, on)
			s.Run("sysctl", "-qw", "net.ipv4.conf.all.route_localnet=0")
			want := dataplane.Result{Operations: 1, Repaired: 1}
			if diff := cmp.Diff(want, mustSync(t, d, on)); diff != "" {
				t.Error(diff)
			}
		}, "1", true},
		"on by others, turned off, wanted no more": {"1", func(s *space, d *Dataplane) {
			mustSync(t, d, on)
			s.Run("sysctl", "-qw", "net.ipv4.conf.all.route_localnet=0")
			mustSync(t, d, on)
			mustApply(t, d, fromOn)
		}, "0", false},
		"the main table replaced": {"0", func(s *space, d *Dataplane) {
			mustSync(t, d, on)
			s.Run("nft", "add", "set", "ip", "fairlead", "mine", "{ type ipv4_addr; }")
			mustSync(t, d, on)
			mustApply(t, d, fromOn)
		}, "0", false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := newSpace(t)
			s.Run("sysctl", "-qw", "net.ipv4.conf.all.route_localnet="+tc.before)
			tc.do(s, s.dataplane())
			if got, err := s.Get("net/ipv4/conf/all/route_localnet"); got != tc.want || err != nil {
				t.Errorf("route_localnet is %q, want %q (%v)", got, tc.want, err)
			}
			if got := s.hasGuard(); got != tc.guard {
				t.Errorf("guard is %v, want %v", got, tc.guard)
			}
		})
	}
}

func (s *space) hasGuard() bool {
	s.T.Helper()
	return strings.Contains(s.Run("nft", "list", "tables"), "table ip "+routelocalnet.TableName)
}

// watchedSysctl is a sysctl that reports changes, and may be read-only.
type watchedSysctl struct {
	value    string
	readOnly bool
	changed  func(to string)
}

func (w *watchedSysctl) Get(string) (string, error) { return w.value, nil }

func (w *watchedSysctl) Set(_, value string) error {
	if w.readOnly {
		return errors.New("read-only file system")
	}
	if w.value != value {
		w.changed(value)
	}
	w.value = value
	return nil
}

// TestGuardComesFirstAndGoesLast checks the order of the steps.
func TestGuardComesFirstAndGoesLast(t *testing.T) {
	s, on, off := newSpace(t), onLocalhost(), onLocalhost()
	off.Node.NodePortLocalhost = false
	d, changes := s.dataplane(), 0
	d.localhost = localhost.New(routelocalnet.NewTable(d.nft), &watchedSysctl{value: "0", changed: func(to string) {
		changes++
		if !s.hasGuard() {
			t.Errorf("set to %s without a guard", to)
		}
		if out, err := s.Try("", "nft", "list", "chain", "ip", "fairlead", "nodeports-on-localhost"); err == nil && strings.Contains(out, "vmap") {
			t.Errorf("set to %s while there are rules: %s", to, out)
		}
	}}, nil)
	mustSync(t, d, on)
	mustApply(t, d, model.Diff(on, off))
	if changes != 2 {
		t.Errorf("%d changes, want 2", changes)
	}
}

// TestReadOnlySysctl checks that everything else is programmed, and what is reported.
func TestReadOnlySysctl(t *testing.T) {
	s, on := newSpace(t), onLocalhost()
	d, w := s.dataplane(), &watchedSysctl{value: "0", readOnly: true, changed: func(string) {}}
	d.localhost = localhost.New(routelocalnet.NewTable(d.nft), w, nil)
	stats, err := d.Sync(t.Context(), on, nil)
	if err != nil || stats.Operations == 0 {
		t.Fatalf("%+v %v", stats, err)
	}
	wantUnsupported := func(stats dataplane.Result) {
		t.Helper()
		if got := desiredtest.Unsupported(stats); !strings.Contains(got, "NodePortLocalhost 0 []: node ports on localhost: read-only file system: let the agent write") {
			t.Errorf("unsupported: %v", got)
		}
	}
	wantUnsupported(stats)
	if s.hasGuard() || !strings.Contains(s.Run("nft", "list", "map", "ip", "fairlead", "ports"), "30080") {
		t.Error("there is a guard, or no node port")
	}
	next := onLocalhost()
	put(&next, "10.96.9.9:80/tcp", rejected)
	stats, err = d.Apply(t.Context(), model.Diff(on, next))
	if err != nil {
		t.Fatal(err)
	}
	wantUnsupported(stats)
	before := d.generation(t)
	stats, err = d.Sync(t.Context(), next, nil)
	if err != nil || stats.Operations != 0 || d.generation(t) != before {
		t.Errorf("again: %+v %v, generation %d after %d", stats, err, d.generation(t), before)
	}
	w.readOnly = false
	if stats := mustSync(t, d, next); stats.Unsupported != nil || !s.hasGuard() || w.value != "1" {
		t.Errorf("when it can be written: %+v, value %s", stats, w.value)
	}
	w.readOnly = true
	off := onLocalhost()
	off.Node.NodePortLocalhost = false
	stats = mustApply(t, d, model.Diff(next, off))
	wantUnsupported(stats)
	if !s.hasGuard() {
		t.Error("the guard is gone while the sysctl cannot be set back")
	}
	if err := d.Cleanup(t.Context()); err == nil || !s.hasGuard() {
		t.Error("cleaned up while the sysctl cannot be set back")
	}
}

// TestRangesDoNotMeanLoopback checks that only NodePortLocalhost includes the loopback.
func TestRangesDoNotMeanLoopback(t *testing.T) {
	s, desired := newSpace(t), model.NewDesired()
	desired.Node.NodePortAddresses = []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}
	desired.Node.NodePortCIDRs = []netip.Prefix{
		netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("::/0")}
	mustSync(t, s.dataplane(), desired)
	for _, family := range []string{"ip", "ip6"} {
		if out := s.Run("nft", "list", "set", family, "fairlead", "nodeport-addresses"); strings.Contains(out, "elements") {
			t.Error(out)
		}
	}
}
