// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"net/netip"
	"testing"
	"time"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// An endpoint is removed, or its whole Service, and after a while the next Sync runs.
func TestDrain(t *testing.T) {
	const (
		web, dns = "10.96.0.1:80/tcp", "10.96.0.1:80/udp"
		one, two = "10.244.0.1:80", "10.244.0.2:80"
	)
	cases := map[string]struct {
		protocol         model.Protocol
		active, inactive int
		serving          []string // UDP endpoints that may keep their flows
		deleted          bool     // the whole Service
		after            time.Duration
		then             int // active connections by then
		want             []string
		bound            bool
	}{
		"idle: at once":                      {protocol: model.TCP, want: []string{web + " rr " + two}, bound: true},
		"open: weight 0":                     {protocol: model.TCP, active: 1, then: 1, want: []string{web + " rr " + one + "*0 " + two}, bound: true},
		"being closed: weight 0":             {protocol: model.TCP, inactive: 1, then: 1, want: []string{web + " rr " + one + "*0 " + two}, bound: true},
		"open just before the deadline":      {protocol: model.TCP, active: 1, after: 899 * time.Second, then: 1, want: []string{web + " rr " + one + "*0 " + two}, bound: true},
		"open at the deadline":               {protocol: model.TCP, active: 1, after: 900 * time.Second, then: 1, want: []string{web + " rr " + two}, bound: true},
		"closed":                             {protocol: model.TCP, active: 1, after: time.Second, want: []string{web + " rr " + two}, bound: true},
		"SCTP like TCP":                      {protocol: model.SCTP, active: 1, then: 1, want: []string{"10.96.0.1:80/sctp rr " + one + "*0 " + two}, bound: true},
		"UDP: at once":                       {protocol: model.UDP, inactive: 1, then: 1, want: []string{dns + " rr " + two}, bound: true},
		"UDP that serves: weight 0":          {protocol: model.UDP, inactive: 1, then: 1, serving: []string{one}, want: []string{dns + " rr " + one + "*0 " + two}, bound: true},
		"UDP that serves has no deadline":    {protocol: model.UDP, inactive: 1, then: 1, serving: []string{one}, after: time.Hour, want: []string{dns + " rr " + one + "*0 " + two}, bound: true},
		"Service idle":                       {protocol: model.TCP, deleted: true},
		"Service with open connection":       {protocol: model.TCP, deleted: true, active: 1, then: 1, want: []string{web + " rr flags 0x20 " + one + "*0"}, bound: true},
		"Service with closed connection":     {protocol: model.TCP, deleted: true, active: 1, after: time.Second},
		"Service with one that closes":       {protocol: model.TCP, deleted: true, inactive: 1, then: 0},
		"Service with open one, at deadline": {protocol: model.TCP, deleted: true, active: 1, after: 900 * time.Second, then: 1},
		"Service of UDP":                     {protocol: model.UDP, deleted: true, inactive: 1, then: 1},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			before := clusterIP("10.96.0.1:80", tc.protocol, one, two)
			n.sync(desiredOf(before))
			n.connections(before.Key.String(), one, tc.active, tc.inactive)
			desired := desiredOf()
			if !tc.deleted {
				now := clusterIP("10.96.0.1:80", tc.protocol, two)
				now.Serving = endpoints(tc.serving...)
				desired = desiredOf(now)
			}
			n.apply(desired)
			if tc.after > 0 {
				n.connections(before.Key.String(), one, tc.then, 0)
				n.clock.Step(tc.after)
			}
			n.sync(desired)
			n.expect(tc.want...)
			if tc.bound {
				n.expectBound("10.96.0.1")
			} else {
				n.expectBound()
			}
			if tc.deleted && len(n.table) > 0 {
				t.Errorf("the table still has %v", n.table)
			}
		})
	}
}

// A list of the kernel that misses virtual servers does not extend the time that connections
// have, nor does a virtual server that drains stay for ever because of it.
func TestDrainUnlisted(t *testing.T) {
	const one, two = "10.244.0.1:80", "10.244.0.2:80"
	for name, tc := range map[string]struct {
		desired model.Desired
		want    []string
	}{
		"an endpoint": {desiredOf(clusterIP("10.96.0.1:80", model.TCP, two)), []string{"10.96.0.1:80/tcp rr " + two}},
		"the Service": {desiredOf(), nil},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.sync(desiredOf(clusterIP("10.96.0.1:80", model.TCP, one, two)))
			n.connections("10.96.0.1:80/tcp", one, 1, 0)
			n.apply(tc.desired)
			n.clock.Step(500 * time.Second)
			n.unlisted = func(serverKey) bool { return true }
			n.unchanged(tc.desired)
			n.unlisted = nil
			n.clock.Step(400 * time.Second)
			n.sync(tc.desired)
			n.expect(tc.want...)
		})
	}
}

// Existing UDP flows leave when their endpoint no longer serves.
func TestServesNoLonger(t *testing.T) {
	n := newNode(t)
	n.sync(desiredOf(clusterIP("10.96.0.1:53", model.UDP, "10.244.0.1:53", "10.244.0.2:53")))
	n.connections("10.96.0.1:53/udp", "10.244.0.1:53", 0, 1)
	leaving := clusterIP("10.96.0.1:53", model.UDP, "10.244.0.2:53")
	leaving.Serving = endpoints("10.244.0.1:53", "10.244.0.2:53")
	n.apply(desiredOf(leaving))
	n.expect("10.96.0.1:53/udp rr 10.244.0.1:53*0 10.244.0.2:53")
	n.apply(desiredOf(clusterIP("10.96.0.1:53", model.UDP, "10.244.0.2:53")))
	n.expect("10.96.0.1:53/udp rr 10.244.0.2:53")
}

// An endpoint that returns gets new connections, and a new deadline when it is removed once
// more.
func TestComesBack(t *testing.T) {
	n := newNode(t)
	both := desiredOf(clusterIP("10.96.0.1:80", model.TCP, "10.244.0.1:80", "10.244.0.2:80"))
	second := desiredOf(clusterIP("10.96.0.1:80", model.TCP, "10.244.0.2:80"))
	n.sync(both)
	n.connections("10.96.0.1:80/tcp", "10.244.0.1:80", 1, 0)
	n.apply(second)
	n.clock.Step(899 * time.Second)
	n.apply(both)
	n.expectSteps("weight 10.96.0.1:80/tcp -> 10.244.0.1:80 1")
	n.clock.Step(time.Hour)
	n.unchanged(both)
	n.apply(second)
	n.clock.Step(899 * time.Second)
	n.unchanged(second)
	n.expect("10.96.0.1:80/tcp rr 10.244.0.1:80*0 10.244.0.2:80")
}

// A client that hashes to a real server of weight 0 must not be rejected: sh and mh get
// the flag that tries the next server, sh replaces dh until then.
func TestSchedulerWhileDraining(t *testing.T) {
	cases := map[string]struct {
		flags          []string
		before, during string
	}{
		"rr": {nil, "rr", "rr"},
		"sh": {nil, "sh flags 0x8", "sh flags 0x8"},
		"mh": {[]string{"mh-port"}, "mh flags 0x18", "mh flags 0x18"},
		"dh": {nil, "dh", "sh flags 0x8"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			with := func(list ...string) model.Desired {
				d := desiredOf(clusterIP("10.96.0.1:80", model.TCP, list...))
				n.o.Scheduler, n.o.SchedulerFlags = name, tc.flags
				return d
			}
			n.sync(with("10.244.0.1:80", "10.244.0.2:80"))
			n.expect("10.96.0.1:80/tcp " + tc.before + " 10.244.0.1:80 10.244.0.2:80")
			n.connections("10.96.0.1:80/tcp", "10.244.0.1:80", 1, 0)
			n.apply(with("10.244.0.2:80"))
			n.expect("10.96.0.1:80/tcp " + tc.during + " 10.244.0.1:80*0 10.244.0.2:80")
			n.restart()
			n.unchanged(with("10.244.0.2:80"))
			n.connections("10.96.0.1:80/tcp", "10.244.0.1:80", 0, 0)
			n.sync(with("10.244.0.2:80"))
			n.expect("10.96.0.1:80/tcp " + tc.before + " 10.244.0.2:80")
		})
	}
}

// Agents restart while what is removed waits for its last connection. Each finds it, keeps its
// connections, and deletes it in the end; what others have stays.
func TestRestartsWhileDraining(t *testing.T) {
	const one, two, foreign = "10.244.0.1:80", "10.244.0.2:80", "192.168.0.2:22/tcp wlc 10.244.0.9:22*0"
	answering := func(addresses []string, list ...*model.Frontend) model.Desired {
		d := desiredOf(list...)
		for _, a := range addresses {
			d.Node.NodePortAddresses = append(d.Node.NodePortAddresses, addr(a))
		}
		return d
	}
	none := []string{}
	first, both := []string{"192.168.0.2"}, []string{"192.168.0.2", "192.168.1.2"}
	split := split(clusterIP("192.0.2.7:80", model.TCP, one, two), two)
	for name, tc := range map[string]struct {
		before, after model.Desired
		excluded      string // from then on
		open          [2]string
		want          []string // while it drains
		bound         []string
		left          []string // in the end
	}{
		"cluster IP": {
			before: desiredOf(clusterIP("10.96.0.1:80", model.TCP, one)), after: desiredOf(),
			open: [2]string{"10.96.0.1:80/tcp", one}, want: []string{"10.96.0.1:80/tcp rr flags 0x20 " + one + "*0"}, bound: []string{"10.96.0.1"},
		},
		"cluster IP that is excluded": {
			before: desiredOf(clusterIP("10.96.0.1:80", model.TCP, one)), after: desiredOf(), excluded: "10.96.0.0/16",
			open: [2]string{"10.96.0.1:80/tcp", one}, want: []string{"10.96.0.1:80/tcp rr flags 0x20 " + one + "*0"}, bound: []string{"10.96.0.1"},
		},
		"node port": {
			before: answering(both, nodePort("30080", one)), after: answering(both),
			open: [2]string{"192.168.0.2:30080/tcp", one}, want: []string{"192.168.0.2:30080/tcp rr flags 0x20 " + one + "*0"}, bound: none,
		},
		"address of node ports": {
			before: answering(both, nodePort("30080", one)), after: answering(first, nodePort("30080", one)),
			open:  [2]string{"192.168.1.2:30080/tcp", one},
			want:  []string{"192.168.0.2:30080/tcp rr flags 0x20 " + one, "192.168.1.2:30080/tcp rr flags 0x20 " + one + "*0"},
			bound: none, left: []string{"192.168.0.2:30080/tcp rr flags 0x20 " + one},
		},
		"external IP that is the node's": {
			before: desiredOf(clusterIP("192.168.0.2:80", model.TCP, one)), after: desiredOf(),
			open: [2]string{"192.168.0.2:80/tcp", one}, want: []string{"192.168.0.2:80/tcp rr flags 0x20 " + one + "*0"}, bound: none,
		},
		"external IP, from outside": {
			before: desiredOf(split, clusterIP("10.96.0.1:80", model.TCP, one)), after: desiredOf(clusterIP("10.96.0.1:80", model.TCP, one)),
			open:  [2]string{"mark 0xf1000050 (IPv4)", two},
			want:  []string{"10.96.0.1:80/tcp rr " + one, "mark 0xf1000050 (IPv4) rr " + two + "*0"},
			bound: []string{"10.96.0.1", "192.0.2.7"}, left: []string{"10.96.0.1:80/tcp rr " + one},
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, both...)
			others := onAddress(clusterIP("192.168.0.2:22", model.TCP).Key)
			e := endpoints("10.244.0.9:22")[0]
			n.virtual[others] = &fakeServer{server{scheduler: "wlc"}, map[model.Endpoint]*realServer{e: {endpoint: e}}}
			n.sync(tc.before)
			n.connections(tc.open[0], tc.open[1], 1, 0)
			if tc.excluded != "" {
				n.o.ExcludeCIDRs = []netip.Prefix{netip.MustParsePrefix(tc.excluded)}
			}
			n.apply(tc.after)
			for i := range 3 {
				if i > 0 {
					n.restart()
				}
				n.sync(tc.after)
				n.expect(append(tc.want, foreign)...)
				n.expectBound(tc.bound...)
			}
			n.connections(tc.open[0], tc.open[1], 0, 0)
			n.sync(tc.after)
			n.expect(append(tc.left, foreign)...)
		})
	}
}
