// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/nattable"
	"github.com/fairlead-proxy/fairlead/agent/internal/desiredtest"
	"github.com/fairlead-proxy/fairlead/rules/inspection"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Examine finds no differences: those of the tables are tested with the kernel.
func (f *fakeFilter) Examine(_ context.Context, desired model.Desired, look dataplane.Look) (out nattable.Examined, err error) {
	f.calls++
	out.Removed, out.Found.NodePorts, out.Marks = map[model.FrontendKey]uint32{}, maps.Clone(f.world.nodePorts), map[model.FrontendKey]uint32{}
	for key, mark := range f.table {
		if desired.Frontends[key] == nil {
			out.Removed[key] = mark
		}
	}
	if out.Answering, err = desired.Node.NodePortsOn(f.addresses); err != nil {
		return out, err
	}
	for key, fr := range desired.Frontends {
		_, there := f.table[key]
		out.Marks[key] = f.table[key]
		shown := dataplane.FrontendOf(key, fr)
		shown.Present, shown.Equal = there, there
		for v, b := range fr.Views() {
			*[]**inspection.Backend{&shown.Internal, &shown.External}[v] = &inspection.Backend{Verdict: b.Verdict}
		}
		if look.Shows(fr) {
			out.Frontends = append(out.Frontends, shown)
		}
	}
	return out, f.fail["plan"]
}

func all(*model.Frontend) bool { return true }

// inspect returns what an inspection finds, sorted.
func inspect(t *testing.T, d *Dataplane, want model.Desired, look dataplane.Look) dataplane.Inspection {
	t.Helper()
	look.Shows = all
	out, err := d.Inspect(t.Context(), want, look)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(out.Differences, func(a, b inspection.Difference) int { return cmp.Compare(a.Object, b.Object) })
	slices.SortFunc(out.Frontends, func(a, b inspection.Frontend) int { return cmp.Compare(a.Address, b.Address) })
	return out
}

func texts(found dataplane.Inspection) (differences, unequal []string) {
	for _, d := range found.Differences {
		differences = append(differences, d.Object+": "+string(d.Problem)+", "+d.Have+" -> "+d.Want)
	}
	for _, f := range found.Frontends {
		if !f.Equal {
			unequal = append(unequal, f.Address)
		}
	}
	return differences, unequal
}

// find returns the virtual server with a name.
func (w *world) find(name string) (serverKey, *fakeServer) {
	for key, s := range w.virtual {
		if key.String() == name {
			return key, s
		}
	}
	panic("no virtual server " + name)
}

var dns, sticky = netip.MustParseAddrPort("10.244.0.1:53"), "10.96.0.2:80/tcp"

// changes are those of others, with what an inspection finds.
var changes = map[string]struct {
	change  func(*node)
	want    []string
	unequal []string // frontends
	syncs   bool     // a Sync does something, although nothing differs
}{
	"nothing": {change: func(*node) {}},
	"a virtual server is deleted": {
		change:  func(n *node) { key, _ := n.find(sticky); delete(n.virtual, key) },
		want:    []string{"real server 10.244.0.2:80 of 10.96.0.2:80/tcp: Missing,  -> ", "virtual server 10.96.0.2:80/tcp: Missing,  -> -s rr -p 10800"},
		unequal: []string{"10.96.0.2:80/tcp"},
	},
	"one of a node port is deleted": {
		change:  func(n *node) { key, _ := n.find("192.168.1.2:30080/tcp"); delete(n.virtual, key) },
		want:    []string{"real server 10.244.0.2:80 of 192.168.1.2:30080/tcp: Missing,  -> ", "virtual server 192.168.1.2:30080/tcp: Missing,  -> -s rr -b flag-3"},
		unequal: []string{"0.0.0.0:30080/tcp"},
	},
	"another scheduler": {
		change:  func(n *node) { _, s := n.find(sticky); s.scheduler = "mh"; s.flags = flagScheduler1 | flagScheduler2 },
		want:    []string{"virtual server 10.96.0.2:80/tcp: Different, -s mh -p 10800 -b mh-fallback,mh-port -> -s rr -p 10800"},
		unequal: []string{"10.96.0.2:80/tcp"},
	},
	"a real server is deleted": {
		change:  func(n *node) { _, s := n.find("10.96.0.1:53/udp"); delete(s.reals, dns) },
		want:    []string{"real server 10.244.0.1:53 of 10.96.0.1:53/udp: Missing,  -> "},
		unequal: []string{"10.96.0.1:53/udp"},
	},
	"a real server of a firewall mark is deleted": {
		change:  func(n *node) { _, s := n.find("mark 0xf10001bb (IPv4)"); clear(s.reals) },
		want:    []string{"real server 10.244.0.1:443 of mark 0xf10001bb (IPv4): Missing,  -> "},
		unequal: []string{"192.0.2.7:443/tcp"},
	},
	"a real server gets no new connections": {
		change:  func(n *node) { _, s := n.find("10.96.0.1:53/udp"); s.reals[dns].weight = 0 },
		want:    []string{"real server 10.244.0.1:53 of 10.96.0.1:53/udp: Different, another weight -> weight 1"},
		unequal: []string{"10.96.0.1:53/udp"},
	},
	"a real server is added": {
		change: func(n *node) {
			_, s := n.find(sticky)
			s.reals[dns] = &realServer{endpoint: dns, weight: 1}
		},
		want:    []string{"real server 10.244.0.1:53 of 10.96.0.2:80/tcp: Superfluous,  -> "},
		unequal: []string{"10.96.0.2:80/tcp"},
	},
	"a real server that drains": {
		change: func(n *node) {
			_, s := n.find(sticky)
			s.reals[dns] = &realServer{endpoint: dns, active: 1}
		},
	},
	"one that has drained": {
		change: func(n *node) {
			_, s := n.find(sticky)
			s.reals[dns] = &realServer{endpoint: dns}
		},
		syncs: true,
	},
	"a virtual server on an address of ours": {
		change: func(n *node) {
			key := onAddress(desiredtest.At("10.96.0.1:99/tcp"))
			n.virtual[key] = &fakeServer{server{scheduler: "rr"}, map[model.Endpoint]*realServer{}}
		},
		want: []string{"virtual server 10.96.0.1:99/tcp: Superfluous,  -> "},
	},
	"a virtual server that drains, with its address": {
		change: func(n *node) {
			n.onDevice[addr("10.96.0.9")] = struct{}{}
			n.virtual[onAddress(desiredtest.At("10.96.0.9:99/tcp"))] = &fakeServer{server{scheduler: "rr"}, map[model.Endpoint]*realServer{dns: {endpoint: dns}}}
		},
		syncs: true,
	},
	"a virtual server of another": {
		change: func(n *node) {
			n.virtual[onAddress(desiredtest.At("192.168.0.2:99/tcp"))] = &fakeServer{server{scheduler: "rr"}, map[model.Endpoint]*realServer{}}
		},
	},
	"addresses": {
		change: func(n *node) { delete(n.onDevice, addr("10.96.0.1")); n.onDevice[addr("10.96.0.9")] = struct{}{} },
		want:   []string{"address 10.96.0.1 on kube-ipvs0: Missing,  -> ", "address 10.96.0.9 on kube-ipvs0: Superfluous,  -> "},
	},
	"the device": {
		change: func(n *node) { n.world.device = false },
		want:   []string{"device kube-ipvs0: Missing,  -> "},
	},
	"a parameter": {
		change: func(n *node) { n.setSysctl("net/ipv4/vs/conntrack", "0") },
		want:   []string{"sysctl net/ipv4/vs/conntrack: Different, 0 -> 1"},
		syncs:  true,
	},
	"timeouts": {
		change: func(n *node) { n.times.UDP = 7 },
		want:   []string{"timeouts of IPVS: Different, {TCP:0 TCPFin:0 UDP:7} -> {TCP:0 TCPFin:0 UDP:60}"},
		syncs:  true,
	},
}

// TestInspect checks that one that has programmed nothing finds what another has programmed equal, and
// names each object that was changed since. It changes nothing, and a Sync does if and only if it finds something.
func TestInspect(t *testing.T) {
	for name, tc := range changes {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, "192.168.0.2", "192.168.1.2", "fd00::2")
			n.o.Timeouts.UDP = 60
			n.sync(mixed())
			tc.change(n)
			n.restart()
			n.steps = nil
			found := inspect(t, n.d, mixed(), dataplane.Look{Options: n.o})
			if len(n.steps) > 0 {
				t.Errorf("the inspection has changed %q", n.steps)
			}
			differences, unequal := texts(found)
			if diff := gocmp.Diff([][]string{tc.want, tc.unequal}, [][]string{differences, unequal}, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("differences and frontends that are not equal (-want +got):\n%s", diff)
			}
			n.restart()
			n.sync(mixed())
			if changes := len(n.steps) > 0; changes != (len(tc.want) > 0) && !tc.syncs {
				t.Errorf("a Sync does %q", n.steps)
			}
		})
	}
}

// TestInspectFrontends checks what is shown of frontends.
func TestInspectFrontends(t *testing.T) {
	n := newNode(t, "192.168.0.2", "192.168.1.2", "fd00::2")
	n.sync(mixed())
	var got []string
	for _, f := range inspect(t, n.d, mixed(), dataplane.Look{Options: n.o}).Frontends {
		line := f.Address + " "
		for _, b := range []*inspection.Backend{f.Internal, f.External} {
			if b != nil {
				line += string(b.Verdict) + " " + strings.Join(b.Endpoints, ",") + "; "
			}
		}
		got = append(got, line+strings.Join(f.Rules, ", "))
	}
	want := []string{
		"0.0.0.0:30080/tcp Forward 10.244.0.2:80; -A -t 192.168.0.2:30080 -s rr -b flag-3, -a -t 192.168.0.2:30080 -r 10.244.0.2:80 -m -w 1, " +
			"-A -t 192.168.1.2:30080 -s rr -b flag-3, -a -t 192.168.1.2:30080 -r 10.244.0.2:80 -m -w 1",
		"0.0.0.0:30443/tcp Forward 10.244.0.1:443,10.244.1.1:443; Forward 10.244.0.1:443; " +
			"-A -t 192.168.0.2:30443 -s rr -b flag-3, -a -t 192.168.0.2:30443 -r 10.244.0.1:443 -m -w 1, -a -t 192.168.0.2:30443 -r 10.244.1.1:443 -m -w 1, " +
			"-A -t 192.168.1.2:30443 -s rr -b flag-3, -a -t 192.168.1.2:30443 -r 10.244.0.1:443 -m -w 1, -a -t 192.168.1.2:30443 -r 10.244.1.1:443 -m -w 1, " +
			"-A -f 4043339499 -s rr, -a -f 4043339499 -r 10.244.0.1:443 -m -w 1",
		"10.96.0.1:53/tcp Forward 10.244.0.1:53,10.244.0.2:53; -A -t 10.96.0.1:53 -s rr, -a -t 10.96.0.1:53 -r 10.244.0.1:53 -m -w 1, -a -t 10.96.0.1:53 -r 10.244.0.2:53 -m -w 1",
		"10.96.0.1:53/udp Forward 10.244.0.1:53,10.244.0.2:53; -A -u 10.96.0.1:53 -s rr, -a -u 10.96.0.1:53 -r 10.244.0.1:53 -m -w 1, -a -u 10.96.0.1:53 -r 10.244.0.2:53 -m -w 1",
		"10.96.0.2:80/tcp Forward 10.244.0.2:80; -A -t 10.96.0.2:80 -s rr -p 10800, -a -t 10.96.0.2:80 -r 10.244.0.2:80 -m -w 1",
		"10.96.0.3:80/tcp Reject ; ",
		"192.0.2.7:443/tcp Forward 10.244.0.1:443,10.244.1.1:443; Forward 10.244.0.1:443; " +
			"-A -t 192.0.2.7:443 -s rr, -a -t 192.0.2.7:443 -r 10.244.0.1:443 -m -w 1, -a -t 192.0.2.7:443 -r 10.244.1.1:443 -m -w 1, " +
			"-A -f 4043309499 -s rr, -a -f 4043309499 -r 10.244.0.1:443 -m -w 1",
		"[::]:30080/tcp Forward [fd00:244::1]:80; -A -t [fd00::2]:30080 -s rr -b flag-3, -a -t [fd00::2]:30080 -r [fd00:244::1]:80 -m -w 1",
		"[fd00:96::1]:80/tcp Forward [fd00:244::1]:80; -A -t [fd00:96::1]:80 -s rr, -a -t [fd00:96::1]:80 -r [fd00:244::1]:80 -m -w 1",
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestInspectKernel checks an inspection of the real kernel: it finds what ipvsadm changes, in the same words as
// ipvsadm has for it, and nothing else.
func TestInspectKernel(t *testing.T) {
	enterSpace(t)
	d, want := newDataplane(t), mixed()
	want.Node.NodePortAddresses = []netip.Addr{addr("192.168.0.2"), addr("fd00::2")}
	if _, err := d.Sync(t.Context(), want, defaults()); err != nil {
		t.Fatal(err)
	}
	look := dataplane.Look{Options: defaults()}
	found := inspect(t, newDataplane(t), want, look)
	differences, unequal := texts(found)
	var rules []string
	for _, f := range found.Frontends {
		rules = append(rules, f.Rules...)
	}
	saved := strings.Split(strings.TrimSpace(ipvsadm(t)), "\n")
	slices.Sort(rules)
	slices.Sort(saved)
	if diff := gocmp.Diff(saved, rules); diff != "" || len(differences)+len(unequal) > 0 {
		t.Errorf("differences %q, frontends that are not equal %q, rules (-ipvsadm +inspected):\n%s", differences, unequal, diff)
	}
	run(t, "ipvsadm", "-D", "-t", "10.96.0.2:80")
	run(t, "nft", "delete", "element", "ip", "fairlead", "services", "{ tcp . 10.96.0.3 . 80 }")
	run(t, "ip", "address", "del", "10.96.0.3/32", "dev", DeviceName)
	differences, unequal = texts(inspect(t, newDataplane(t), want, look))
	if diff := gocmp.Diff([][]string{{
		"address 10.96.0.3 on kube-ipvs0: Missing,  -> ",
		"frontend 10.96.0.3:80/tcp: Missing,  -> goto refuse",
		"real server 10.244.0.2:80 of 10.96.0.2:80/tcp: Missing,  -> ",
		"virtual server 10.96.0.2:80/tcp: Missing,  -> -s rr -p 10800",
	}, {"10.96.0.2:80/tcp", "10.96.0.3:80/tcp"}}, [][]string{differences, unequal}); diff != "" {
		t.Errorf("differences and frontends that are not equal (-want +got):\n%s", diff)
	}
}

// ipvsadm returns all rules. ipvsadm prints a firewall mark of 32 bits as a negative number, which it does not read.
func ipvsadm(t *testing.T) string {
	t.Helper()
	return regexp.MustCompile(`-f -\d+`).ReplaceAllStringFunc(run(t, "ipvsadm", "-Sn"), func(option string) string {
		var mark int32
		if _, err := fmt.Sscanf(option, "-f %d", &mark); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint("-f ", uint32(mark))
	})
}
