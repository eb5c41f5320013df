// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Changes by others are repaired: at once where the kernel notifies of them, otherwise
// with the next read-back.
func TestRepairs(t *testing.T) {
	const web = "10.96.0.2:80/tcp"
	find := func(n *node, key string) *fakeServer {
		for k, s := range n.virtual {
			if k.String() == key {
				return s
			}
		}
		return nil
	}
	e := endpoints("10.244.0.2:80")[0]
	cases := map[string]struct {
		change   func(*node)
		repaired int
		notified bool
	}{
		"ipvsadm -C": {change: func(n *node) { clear(n.virtual) }, repaired: 29},
		"a virtual server": {change: func(n *node) {
			maps.DeleteFunc(n.virtual, func(k serverKey, _ *fakeServer) bool { return k.String() == web })
		}, repaired: 2},
		"a real server":       {change: func(n *node) { clear(find(n, web).reals) }, repaired: 1},
		"a weight":            {change: func(n *node) { find(n, web).reals[e].weight = 0 }, repaired: 1},
		"another weight":      {change: func(n *node) { find(n, web).reals[e].weight = 7 }, repaired: 1},
		"a scheduler":         {change: func(n *node) { find(n, web).scheduler = "fo" }, repaired: 1},
		"a persistence":       {change: func(n *node) { find(n, web).persistence = 1 }, repaired: 1},
		"one too many":        {change: func(n *node) { o := endpoints("10.0.0.1:1")[0]; find(n, web).reals[o] = &realServer{o, 1, 0, 0} }, repaired: 1},
		"one on our address":  {change: func(n *node) { n.virtual[onAddress(clusterIP("10.96.0.2:81", model.TCP).Key)] = &fakeServer{} }, repaired: 1},
		"an address":          {change: func(n *node) { delete(n.onDevice, addr("10.96.0.1")) }, repaired: 1, notified: true},
		"an address too many": {change: func(n *node) { n.onDevice[addr("10.96.7.7")] = struct{}{} }, repaired: 1, notified: true},
		"the device":          {change: func(n *node) { n.world.device = false; clear(n.onDevice) }, repaired: 5, notified: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.sync(mixed())
			tc.change(n)
			if !tc.notified {
				n.unchanged(mixed())
				n.clock.Step(10 * time.Second)
			}
			stats := n.sync(mixed())
			if stats.Repaired != tc.repaired {
				t.Errorf("repaired %d of %d operations, want %d: %q", stats.Repaired, stats.Operations, tc.repaired, n.steps)
			}
			n.expect(mixedServers...)
			n.expectBound("10.96.0.1", "10.96.0.2", "10.96.0.3", "192.0.2.7", "fd00:96::1")
			n.clock.Step(10 * time.Second)
			n.unchanged(mixed())
		})
	}
}

// A list of the kernel that does not have all virtual servers changes nothing: neither a
// read-back nor a new agent takes them for deleted.
func TestIncompleteList(t *testing.T) {
	for name, unlisted := range map[string]func(serverKey) bool{
		"one":           func(k serverKey) bool { return k.String() == "10.96.0.2:80/tcp" },
		"those of IPv6": func(k serverKey) bool { return k.family == corev1.IPv6Protocol },
		"the marks":     func(k serverKey) bool { return k.mark != 0 },
		"all":           func(serverKey) bool { return true },
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, "192.168.0.2", "192.168.1.2", "fd00::2")
			n.sync(mixed())
			n.unlisted = unlisted
			n.clock.Step(10 * time.Second)
			n.unchanged(mixed())
			n.restart()
			n.unchanged(mixed())
			n.expect(mixedServers...)

			key := onAddress(clusterIP("10.96.0.2:80", model.TCP).Key)
			n.virtual[key].reals[endpoints("10.244.0.2:80")[0]].weight = 7
			n.clock.Step(10 * time.Second)
			if stats := n.sync(mixed()); stats.Repaired != 1 {
				t.Errorf("repaired %d, want 1: %q", stats.Repaired, n.steps)
			}
			n.expect(mixedServers...)
			delete(n.virtual, key)
			n.clock.Step(10 * time.Second)
			if stats := n.sync(mixed()); stats.Repaired != 2 {
				t.Errorf("repaired %d, want 2: %q", stats.Repaired, n.steps)
			}
			n.expect(mixedServers...)
		})
	}
}

// TestCleanupUnlisted checks that a list that misses virtual servers, of an agent that does not
// know them, leaves none behind.
func TestCleanupUnlisted(t *testing.T) {
	n := newNode(t, "192.168.0.2", "192.168.1.2", "fd00::2")
	n.sync(mixed())
	n.restart()
	lists := 0
	n.listing = func() { lists++ }
	n.unlisted = func(k serverKey) bool { return lists == 1 && (k.mark != 0 || k.family == corev1.IPv6Protocol) }
	if err := n.d.Cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.expect()
	if n.world.device || n.table != nil {
		t.Error("Cleanup leaves the device or the table")
	}
}

// TestCleanupEnds checks that virtual servers that come back end a Cleanup with an error, and that
// it leaves what shows whose they are.
func TestCleanupEnds(t *testing.T) {
	n := newNode(t)
	n.sync(mixed())
	n.listing = func() {
		n.virtual[onAddress(clusterIP("10.96.0.1:53", model.TCP).Key)] = &fakeServer{reals: map[model.Endpoint]*realServer{}}
	}
	if err := n.d.Cleanup(t.Context()); err == nil || !n.world.device {
		t.Errorf("error %v; the device stays: %v", err, n.world.device)
	}
	n.listing = nil
	if err := n.d.Cleanup(t.Context()); err != nil {
		t.Error(err)
	}
	n.expect()
}

// An error while the kernel is asked for a virtual server that the list does not have is returned,
// and nothing is taken for deleted.
func TestIncompleteListFails(t *testing.T) {
	const web = "10.96.0.2:80/tcp"
	n := newNode(t)
	n.sync(mixed())
	n.unlisted = func(k serverKey) bool { return k.String() == web }
	for _, restart := range []bool{false, true} {
		if restart {
			n.restart()
		}
		n.clock.Step(10 * time.Second)
		n.fail["get "+web] = unix.EINTR
		if _, err := n.d.Sync(context.Background(), mixed(), n.o); !errors.Is(err, unix.EINTR) {
			t.Errorf("Sync returns %v", err)
		}
		clear(n.fail)
		n.unchanged(mixed())
	}
}

// A delta fails if others have changed the kernel since the last Sync; the next Sync repairs it and
// counts the repair.
func TestApplyAfterOthers(t *testing.T) {
	n := newNode(t)
	n.sync(mixed())
	clear(n.virtual)
	after := mixed()
	changed := clusterIP("10.96.0.1:53", model.TCP, "10.244.0.1:53", "10.244.0.9:53")
	after.Frontends[changed.Key] = changed
	if _, err := n.d.Apply(context.Background(), model.Diff(n.have, after)); err == nil {
		t.Fatal("Apply changes what is not there")
	}
	if stats := n.sync(after); stats.Repaired == 0 {
		t.Errorf("Sync has done %+v", stats)
	}
	n.clock.Step(10 * time.Second)
	n.unchanged(after)
}

// several returns Services with two endpoints each.
func several(n int) model.Desired {
	frontends := make([]*model.Frontend, n)
	for i := range frontends {
		frontends[i] = clusterIP(fmt.Sprintf("10.96.%d.%d:80", i/250, i%250+1), model.TCP,
			fmt.Sprintf("10.244.%d.%d:80", i/250, i%250+1), fmt.Sprintf("10.245.%d.%d:80", i/250, i%250+1))
		frontends[i].Service.Name = fmt.Sprint("web-", i)
	}
	return desiredOf(frontends...)
}

// With many virtual servers each part of a read-back is bounded, and all of them together
// take one period.
func TestReadBackInParts(t *testing.T) {
	n := newNode(t)
	d := several(4000)
	n.sync(d)
	for _, s := range n.virtual {
		clear(s.reals)
	}
	repaired := 0
	for range 5 {
		n.clock.Step(2 * time.Second)
		stats := n.sync(d)
		repaired += stats.Repaired
		if stats.Repaired > 2*800 {
			t.Errorf("%d at once", stats.Repaired)
		}
	}
	if repaired != 8000 {
		t.Errorf("repaired %d, want 8000", repaired)
	}
	clear(n.virtual) // all is seen at once
	n.clock.Step(2 * time.Second)
	if stats := n.sync(d); stats.Repaired != 12000 {
		t.Errorf("repaired %d, want 12000", stats.Repaired)
	}
	n.unchanged(d)
}

// A part is smaller if its virtual servers have many real servers.
func TestReadBackOfMany(t *testing.T) {
	const servers, reals = 100, 200
	n := newNode(t)
	var list []string
	for i := range reals {
		list = append(list, fmt.Sprintf("10.244.0.%d:80", i))
	}
	var frontends []*model.Frontend
	for i := range servers {
		frontends = append(frontends, clusterIP(fmt.Sprintf("10.96.0.%d:80", i), model.TCP, list...))
		frontends[i].Service.Name = fmt.Sprint("web-", i)
	}
	d := desiredOf(frontends...)
	n.sync(d)
	for _, s := range n.virtual {
		for _, r := range s.reals {
			r.weight = 2
		}
	}
	repaired, parts := 0, 0
	for ; repaired < servers*reals && parts < servers; parts++ {
		n.clock.Step(10 * time.Second)
		stats := n.sync(d)
		repaired += stats.Repaired
	}
	if repaired != servers*reals || parts < 10 {
		t.Errorf("repaired %d in %d parts", repaired, parts)
	}
}

// A kernel that is slow to read is read less often.
func TestReadBackSlowly(t *testing.T) {
	n := newNode(t)
	d := several(10)
	n.sync(d)
	reads := 0
	n.listing = func() { reads++; n.clock.Step(3 * time.Second) }
	for range 100 {
		n.clock.Step(time.Second)
		n.sync(d)
	}
	if reads != 2 { // after 10 seconds, and after 60 more
		t.Errorf("read %d times", reads)
	}
}

// The cost of one changed endpoint does not depend on the number of Services; nor does
// that of a Sync without a read-back.
func TestCost(t *testing.T) {
	for _, size := range []int{10, 2000} {
		n := newNode(t)
		d := several(size)
		n.sync(d)
		changed := several(size)
		f := clusterIP("10.96.0.1:80", model.TCP, "10.244.0.1:80", "10.244.99.1:80")
		changed.Frontends[f.Key] = f
		n.apply(changed)
		if n.calls != 5 { // the table's plan, and of the real servers: add, weight, list, delete
			t.Errorf("%d Services: %d calls: %q", size, n.calls, n.steps)
		}
		n.sync(changed)
		if n.calls != 2 { // the addresses, and the table's plan
			t.Errorf("%d Services: Sync takes %d calls", size, n.calls)
		}
	}
}

// NextLook is after the parts of a period, counted from the last read-back, and every two
// seconds while a real server drains, also with changes all the time.
func TestNextLook(t *testing.T) {
	n := newNode(t)
	expect := func(want time.Duration, got dataplane.Result) {
		t.Helper()
		if got.NextLook != want {
			t.Errorf("next look after %v, want %v", got.NextLook, want)
		}
	}
	web := func(list ...string) model.Desired { return desiredOf(clusterIP("10.96.0.1:80", model.TCP, list...)) }
	expect(10*time.Second, n.sync(web("10.244.0.1:80", "10.244.0.2:80")))
	n.clock.Step(4 * time.Second)
	expect(6*time.Second, n.sync(n.have)) // which reads nothing back
	n.clock.Step(6 * time.Second)
	expect(10*time.Second, n.sync(n.have))
	n.connections("10.96.0.1:80/tcp", "10.244.0.1:80", 1, 0)
	expect(2*time.Second, n.apply(web("10.244.0.2:80")))
	n.clock.Step(time.Second)
	expect(time.Second, n.apply(web("10.244.0.2:80", "10.244.0.3:80")))
	n.sync(several(4000))
	n.clock.Step(time.Hour)
	expect(2*time.Second, n.sync(n.have))
}

func BenchmarkSync(b *testing.B) {
	for _, size := range []int{1000, 10000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			n := newNode(b)
			d := several(size)
			n.o.ReadBack = time.Hour
			d.Node.NodePortAddresses = []netip.Addr{addr("192.168.0.2")}
			n.sync(d)
			b.ReportAllocs()
			for b.Loop() {
				n.sync(d)
			}
		})
	}
}
