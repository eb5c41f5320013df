// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"k8s.io/utils/clock"

	kernel "github.com/fairlead-proxy/fairlead/agent/kernel/conntrack"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

const (
	vip      = "10.96.0.10:53"
	nodePort = "0.0.0.0:30053"
	nodeIP   = "192.168.0.2:30053"
	podA     = "10.244.0.1:53"
	podB     = "10.244.0.2:53"
)

func endpoints(texts ...string) (out []model.Endpoint) {
	for _, t := range texts {
		out = append(out, netip.MustParseAddrPort(t))
	}
	return out
}

func frontend(protocol model.Protocol, at string, to ...string) *model.Frontend {
	a := netip.MustParseAddrPort(at)
	f := &model.Frontend{Key: model.FrontendKey{Address: a.Addr(), Protocol: protocol, Port: a.Port()}}
	f.Internal = model.Backend{Verdict: model.Forward, Endpoints: endpoints(to...)}
	if len(to) == 0 {
		f.Internal.Verdict = model.Reject
	}
	f.External = f.Internal
	if protocol == model.UDP {
		f.Serving = endpoints(to...)
	}
	return f
}

// flow is an entry; name is what the tests call it.
func flow(name string, protocol model.Protocol, to, endpoint string, change ...func(*kernel.Entry)) kernel.Entry {
	e := kernel.Entry{Protocol: uint8(protocol), Source: netip.MustParseAddrPort("10.244.0.200:40000"),
		Destination: netip.MustParseAddrPort(to), Endpoint: netip.MustParseAddrPort(endpoint), Name: kernel.Name{ID: []byte(name)}}
	for _, c := range change {
		c(&e)
	}
	return e
}

func unanswered(e *kernel.Entry) { e.Unanswered = true }
func from(source string) func(*kernel.Entry) {
	return func(e *kernel.Entry) { e.Source = netip.MustParseAddrPort(source) }
}
func otherZone(e *kernel.Entry) { e.OtherZone = true }

func newCleaner(m *memory, changed func()) *Cleaner {
	return New(m.kernel(), m, logr.Discard(), clock.RealClock{}, changed)
}

// desired is the delta from nothing.
func desired(frontends ...*model.Frontend) model.Desired {
	d := model.NewDesired()
	d.Node.NodePortAddresses = []netip.Addr{netip.MustParseAddr("192.168.0.2")}
	for _, f := range frontends {
		d.Frontends[f.Key] = f
	}
	return d
}

// settle looks at what is due, without the goroutine.
func (c *Cleaner) settle(t *testing.T, everything bool) {
	t.Helper()
	c.Programmed(everything)
	for _, q := range c.queues {
		if _, err := c.look(t.Context(), q.protocol, q.take()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestChanges(t *testing.T) {
	const vip6, pod6 = "[fd00::10]:53", "[fd00:1::1]:53"
	udp, tcp := model.UDP, model.TCP
	local := frontend(tcp, "203.0.113.1:80", podA, podB)
	local.External = model.Backend{Verdict: model.Forward, Endpoints: endpoints(podB)}
	drops := frontend(udp, vip)
	drops.Serving = endpoints(podA)
	drops.External.Verdict = model.Drop
	cases := map[string]struct {
		before, after []*model.Frontend
		entries       []kernel.Entry
		want          []string // what is left
	}{
		"an endpoint goes": {
			[]*model.Frontend{frontend(udp, vip, podA, podB)}, []*model.Frontend{frontend(udp, vip, podB)},
			[]kernel.Entry{flow("gone", udp, vip, podA), flow("kept", udp, vip, podB), flow("other port", udp, "10.96.0.10:54", podA), flow("not a Service's", udp, podA, podA)},
			[]string{"kept", "not a Service's", "other port"},
		},
		"an endpoint goes, IPv6": {
			[]*model.Frontend{frontend(udp, vip6, pod6)}, []*model.Frontend{frontend(udp, vip6)}, []kernel.Entry{flow("gone", udp, vip6, pod6)}, []string{},
		},
		"the target port changes": {
			[]*model.Frontend{frontend(udp, vip, "10.244.0.1:53")}, []*model.Frontend{frontend(udp, vip, "10.244.0.1:54")},
			[]kernel.Entry{flow("gone", udp, vip, "10.244.0.1:53"), flow("kept", udp, vip, "10.244.0.1:54")},
			[]string{"kept"},
		},
		"an endpoint takes no new flows, but serves": {
			[]*model.Frontend{frontend(udp, vip, podA)}, []*model.Frontend{drops},
			[]kernel.Entry{flow("kept", udp, vip, podA)},
			[]string{"kept"},
		},
		"the last endpoint goes": {
			[]*model.Frontend{frontend(udp, vip, podA), frontend(udp, nodePort, podA)}, []*model.Frontend{frontend(udp, vip), frontend(udp, nodePort)},
			[]kernel.Entry{flow("gone", udp, vip, podA), flow("node port", udp, nodeIP, podA), flow("another machine's port", udp, "192.0.2.1:30053", "192.0.2.1:30053")},
			[]string{"another machine's port"},
		},
		"a frontend is new": {
			nil, []*model.Frontend{frontend(udp, vip, podA), frontend(udp, nodePort, podA), frontend(tcp, vip, podA)},
			[]kernel.Entry{
				flow("older", udp, vip, vip), flow("older node port", udp, nodeIP, nodeIP), flow("tcp", tcp, vip, vip),
				flow("another zone's view", udp, vip, vip, otherZone), flow("kept", udp, vip, podA),
			},
			[]string{"another zone's view", "kept", "tcp"},
		},
		"an answer of what is older was under way": {
			nil, []*model.Frontend{frontend(udp, vip, podA), frontend(udp, nodePort, podA), frontend(tcp, vip, podA)},
			[]kernel.Entry{
				flow("answer", udp, "10.244.0.9:40000", "10.244.0.9:40000", from(vip)), flow("of the node", udp, "192.0.2.1:53", "192.0.2.1:53", from(nodeIP)),
				flow("tcp", tcp, "10.244.0.9:40000", "10.244.0.9:40000", from(vip), unanswered), flow("in another zone", udp, podB, podB, from(vip), otherZone),
			},
			[]string{"in another zone", "of the node", "tcp"},
		},
		"a frontend is removed": {
			[]*model.Frontend{frontend(udp, vip, podA), frontend(udp, nodePort, podA), frontend(tcp, vip, podA)}, nil,
			[]kernel.Entry{
				flow("gone", udp, vip, podA), flow("gone, node port", udp, nodeIP, podA), flow("tcp", tcp, vip, podA),
				flow("gone, no answer", tcp, vip, podA, unanswered), flow("untranslated", udp, vip, vip),
			},
			[]string{"tcp", "untranslated"},
		},
		"an address goes, the node port stays": {
			[]*model.Frontend{frontend(udp, nodeIP, podB), frontend(udp, nodePort, podA)}, []*model.Frontend{frontend(udp, nodePort, podA)},
			[]kernel.Entry{flow("of the address", udp, nodeIP, podB), flow("of the node port", udp, nodeIP, podA)},
			[]string{"of the node port"},
		},
		"an endpoint of TCP goes": {
			[]*model.Frontend{frontend(tcp, vip, podA, podB)}, []*model.Frontend{frontend(tcp, vip, podB)},
			[]kernel.Entry{flow("no answer", tcp, vip, podA, unanswered), flow("established", tcp, vip, podA), flow("no answer yet", tcp, vip, podB, unanswered)},
			[]string{"established", "no answer yet"},
		},
		"policies differ": {
			[]*model.Frontend{frontend(tcp, "203.0.113.1:80", "10.244.0.9:80")}, []*model.Frontend{local},
			[]kernel.Entry{flow("a", tcp, "203.0.113.1:80", podA, unanswered), flow("b", tcp, "203.0.113.1:80", podB, unanswered), flow("gone", tcp, "203.0.113.1:80", "10.244.0.9:80", unanswered)},
			[]string{"a", "b"},
		},
		"SCTP is left alone": {
			[]*model.Frontend{frontend(model.SCTP, vip, podA)}, nil,
			[]kernel.Entry{flow("sctp", model.SCTP, vip, podA, unanswered)},
			[]string{"sctp"},
		},
	}
	for name, tc := range cases {
		for how, everything := range map[string]bool{"": false, ", everything": true} {
			t.Run(name+how, func(t *testing.T) {
				m := &memory{coarse: everything}
				c := newCleaner(m, nil)
				before, after := desired(tc.before...), desired(tc.after...)
				c.Change(model.Diff(model.NewDesired(), before))
				c.settle(t, true)
				m.entries = slices.Clone(tc.entries)
				c.Change(model.Diff(before, after))
				c.settle(t, everything)
				if diff := cmp.Diff(tc.want, m.left()); diff != "" {
					t.Errorf("left in the kernel:\n%s", diff)
				}
				m.wantCounted(t, len(tc.entries)-len(tc.want))
			})
		}
	}
}

// A SYN that met no rules is found when everything is compared. A pass for each new Service
// would cost more than it is worth.
func TestUntranslatedSYN(t *testing.T) {
	for everything, want := range map[bool][]string{false: {"answered", "lost", "lost, node port"}, true: {"answered"}} {
		m := &memory{coarse: everything}
		c := newCleaner(m, nil)
		m.entries = []kernel.Entry{flow("lost", model.TCP, vip, vip, unanswered), flow("lost, node port", model.TCP, nodeIP, nodeIP, unanswered),
			flow("answered", model.TCP, vip, vip)}
		c.Change(model.Diff(model.NewDesired(), desired()))
		c.settle(t, true)
		c.Change(model.Diff(desired(), desired(frontend(model.TCP, vip, podA), frontend(model.TCP, nodePort, podA))))
		c.settle(t, everything)
		if diff := cmp.Diff(want, m.left()); diff != "" {
			t.Errorf("everything %v: left in the kernel:\n%s", everything, diff)
		}
	}
}

func TestNothingRightIsDeletedAtTheStart(t *testing.T) {
	m := &memory{entries: []kernel.Entry{
		flow("vip", model.UDP, vip, podA), flow("node port", model.UDP, nodeIP, podA), flow("connecting", model.TCP, vip, podA, unanswered),
		flow("of a Service that is unknown", model.UDP, "10.96.0.11:53", podB),
	}}
	want := m.left()
	c := newCleaner(m, nil)
	c.Change(model.Diff(model.NewDesired(), desired(frontend(model.UDP, vip, podA), frontend(model.UDP, nodePort, podA), frontend(model.TCP, vip, podA))))
	c.settle(t, true)
	if diff := cmp.Diff(want, m.left()); diff != "" {
		t.Error(diff)
	}
}

func TestNodePortRanges(t *testing.T) {
	m := &memory{
		addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("192.168.7.7")},
		entries: []kernel.Entry{
			flow("node", model.UDP, "192.168.7.7:30053", podB), flow("loopback", model.UDP, "127.0.0.1:30053", "127.0.0.1:30053"),
			flow("another machine", model.UDP, "192.0.2.1:30053", "192.0.2.1:30053"),
		},
	}
	c := newCleaner(m, nil)
	d := desired(frontend(model.UDP, nodePort, podA))
	d.Node = model.NodeSettings{NodePortCIDRs: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}
	c.Change(model.Diff(model.NewDesired(), d))
	c.settle(t, true)
	if diff := cmp.Diff([]string{"another machine", "loopback"}, m.left()); diff != "" {
		t.Error(diff)
	}
}

// What costs nothing must not make the kernel walk through its table.
func TestDumps(t *testing.T) {
	address := netip.MustParseAddr("10.96.0.10")
	var many []*model.Frontend
	for port := range 9 {
		many = append(many, frontend(model.UDP, netip.AddrPortFrom(address, uint16(port+1)).String(), podA))
	}
	base := []*model.Frontend{frontend(model.UDP, vip, podA, podB), frontend(model.TCP, vip, podA), frontend(model.UDP, nodePort, podA)}
	affinity := frontend(model.UDP, vip, podA, podB)
	affinity.AffinityTimeoutSeconds = 10
	with := func(f ...*model.Frontend) []*model.Frontend { return append(f, base...) }
	cases := map[string]struct {
		before, after []*model.Frontend
		want          []kernel.Filter
	}{
		"nothing changes":             {base, base, nil},
		"endpoints are added":         {base, []*model.Frontend{base[0], frontend(model.TCP, vip, podA, podB), base[2]}, nil},
		"what does not concern flows": {base, []*model.Frontend{affinity, base[1], base[2]}, nil},
		"a Service of TCP is new":     {base, with(frontend(model.TCP, "10.96.0.11:80", podA)), nil},
		"an address": {base, []*model.Frontend{frontend(model.UDP, vip, podA), base[1], base[2]},
			[]kernel.Filter{{Protocol: unix.IPPROTO_UDP, Address: address, Port: 53}}},
		"an address is new": {base, with(frontend(model.UDP, "10.96.0.10:54", podA)), []kernel.Filter{
			{Protocol: unix.IPPROTO_UDP, Address: address, Port: 54},
			{Protocol: unix.IPPROTO_UDP, Address: address, Port: 54, Reverse: true},
		}},
		"a node port": {base, []*model.Frontend{base[0], base[1], frontend(model.UDP, nodePort)},
			[]kernel.Filter{{Protocol: unix.IPPROTO_UDP, Port: 30053}}},
		"TCP": {base, []*model.Frontend{base[0], frontend(model.TCP, vip), base[2]},
			[]kernel.Filter{{Protocol: unix.IPPROTO_TCP, Address: address, Port: 53, Unanswered: true}}},
		"many": {base, with(many...), []kernel.Filter{{Protocol: unix.IPPROTO_UDP}}},
		"an address and a node port": {base, []*model.Frontend{frontend(model.UDP, vip), base[1], frontend(model.UDP, nodePort)},
			[]kernel.Filter{{Protocol: unix.IPPROTO_UDP}}},
		"several of TCP": {with(frontend(model.TCP, "10.96.0.11:80", podA)), []*model.Frontend{base[0], frontend(model.TCP, vip), base[2], frontend(model.TCP, "10.96.0.11:80")},
			[]kernel.Filter{{Protocol: unix.IPPROTO_TCP, Unanswered: true}}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			m := &memory{}
			c := newCleaner(m, nil)
			before, after := desired(tc.before...), desired(tc.after...)
			c.Change(model.Diff(model.NewDesired(), before))
			c.settle(t, true)
			m.dumps = nil
			c.Change(model.Diff(before, after))
			c.settle(t, false)
			if diff := cmp.Diff(tc.want, m.filters(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A change that is not in the kernel yet must wait: until then flows go to the
// old endpoints, and would come back.
func TestChangesWaitForTheProgramming(t *testing.T) {
	m := &memory{entries: []kernel.Entry{flow("gone", model.UDP, vip, podA)}}
	c := newCleaner(m, nil)
	before, after := desired(frontend(model.UDP, vip, podA)), desired()
	c.Change(model.Diff(model.NewDesired(), before))
	c.settle(t, true)
	c.Change(model.Diff(before, after))
	if w := c.queues[model.UDP].take(); !w.empty() {
		t.Fatalf("due before it was programmed: %v", w)
	}
	c.settle(t, false)
	if left := m.left(); len(left) > 0 {
		t.Errorf("left: %s", left)
	}
}

// The kernel forgets a flow that is older than its frontend, and an answer begins
// it anew, the other way round.
func TestRunLooksAgain(t *testing.T) {
	const client = "10.244.0.9:40000"
	m := &memory{entries: []kernel.Entry{flow("older", model.UDP, vip, vip, from(client))}}
	m.deleted = func(e kernel.Entry) {
		if string(e.Name.ID) == "older" {
			m.entries = append(m.entries, flow("answer", model.UDP, client, client, from(vip)))
		}
	}
	c := newCleaner(m, nil)
	c.Change(model.Diff(model.NewDesired(), desired()))
	c.settle(t, true)
	c.Change(model.Diff(desired(), desired(frontend(model.UDP, vip, podA))))
	c.Programmed(false)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); c.Run(ctx) }()
	defer func() { cancel(); <-done }()
	for deadline := time.Now().Add(time.Minute); len(m.left()) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("left: %s", m.left())
		}
	}
}

func TestRunRetriesAndReports(t *testing.T) {
	m := &memory{entries: []kernel.Entry{flow("gone", model.UDP, vip, podA)}}
	m.fail(errBroken)
	changed := make(chan struct{}, 100)
	c := newCleaner(m, func() { changed <- struct{}{} })
	before := desired(frontend(model.UDP, vip, podA))
	c.Change(model.Diff(model.NewDesired(), before))
	c.Change(model.Diff(before, desired(frontend(model.UDP, vip, podB))))
	c.Programmed(false)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); c.Run(ctx) }()
	defer func() { cancel(); <-done }()

	await(t, changed)
	if err := c.Failure(); !errors.Is(err, errBroken) {
		t.Fatalf("the failure is %v", err)
	}
	if n := len(m.filters()); n < reportAfter {
		t.Errorf("reported after %d tries", n)
	}
	m.fail(nil)
	await(t, changed)
	if err := c.Failure(); err != nil {
		t.Errorf("the failure is over, but %v", err)
	}
	if left := m.left(); len(left) > 0 {
		t.Errorf("left: %s", left)
	}
	if len(changed) > 0 {
		t.Error("called without a change")
	}
}

func await(t *testing.T, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(time.Minute):
		t.Fatal("nothing happened")
	}
}
