// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/agent/internal/desiredtest"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// frontendsOnNode are a cluster IP, an address with other endpoints for packets from
// outside, and a node port, in both families.
func frontendsOnNode() model.Desired {
	d := desiredOf(
		clusterIP("10.96.0.1:80", model.TCP, "10.244.0.1:8080", "10.244.0.2:8080"),
		split(clusterIP("192.0.2.7:80", model.TCP, "10.244.0.1:8080", "10.244.0.2:8080"), "10.244.0.2:8080"),
		nodePort("30080", "10.244.0.1:8080"),
		clusterIP("[fd00:96::1]:80", model.TCP, "[fd00:244::1]:8080", "[fd00:244::2]:8080"),
		split(clusterIP("[2001:db8:7::7]:80", model.TCP, "[fd00:244::1]:8080", "[fd00:244::2]:8080"), "[fd00:244::2]:8080"),
		nodePort("[::]:30080", "[fd00:244::1]:8080"),
	)
	d.Node.NodePortAddresses = []netip.Addr{addr("198.51.100.1"), addr("2001:db8::1")}
	return d
}

// answers connects to all of frontendsOnNode.
func (n *network) answers() {
	n.t.Helper()
	for to, want := range map[string]map[string]int{
		"10.96.0.1:80":        {"10.244.0.1": 1, "10.244.0.2": 1},
		"192.0.2.7:80":        {"10.244.0.2": 2},
		"198.51.100.1:30080":  {"10.244.0.1": 2},
		"[fd00:96::1]:80":     {"fd00:244::1": 1, "fd00:244::2": 1},
		"[2001:db8:7::7]:80":  {"fd00:244::2": 2},
		"[2001:db8::1]:30080": {"fd00:244::1": 2},
	} {
		if got := n.tally(to, 2, nil); !maps.Equal(got, want) {
			n.t.Errorf("%s: %v, want %v", to, got, want)
		}
	}
}

// External changes are repaired: at once where the kernel notifies of them, otherwise when
// IPVS is read back, at the time in the result.
func TestOthers(t *testing.T) {
	n := newNetwork(t)
	d := frontendsOnNode()
	n.o.ReadBack = time.Second
	n.sync(d)
	n.answers()
	right := func() []string { // in any order
		lines := strings.Split(n.run("ipvsadm", "-Sn")+n.run("nft", "-s", "list", "table", "ip", "fairlead"), "\n")
		slices.Sort(lines)
		return lines
	}
	want := right()

	changed := make(chan struct{}, 1000)
	ctx, cancel := context.WithCancel(context.Background())
	watching := make(chan error, 1)
	go func() { watching <- n.d.Watch(ctx, func() { changed <- struct{}{} }) }()
	defer func() {
		cancel()
		if err := <-watching; err != nil {
			t.Errorf("Watch: %v", err)
		}
	}()
	for name, command := range map[string][]string{
		"all virtual servers": {"ipvsadm", "-C"},
		"a virtual server":    {"ipvsadm", "-D", "-t", "10.96.0.1:80"},
		"one in IPv6":         {"ipvsadm", "-D", "-t", "[fd00:96::1]:80"},
		"a real server":       {"ipvsadm", "-d", "-t", "10.96.0.1:80", "-r", "10.244.0.1:8080"},
		"a weight":            {"ipvsadm", "-e", "-t", "10.96.0.1:80", "-r", "10.244.0.1:8080", "-m", "-w", "0"},
		"a scheduler":         {"ipvsadm", "-E", "-t", "10.96.0.1:80", "-s", "wlc"},
		"a foreign one":       {"ipvsadm", "-a", "-t", "10.96.0.1:80", "-r", "10.244.0.3:8080", "-m"},
		"an address":          {"ip", "addr", "del", "10.96.0.1/32", "dev", DeviceName},
		"an address of IPv6":  {"ip", "addr", "del", "fd00:96::1/128", "dev", DeviceName},
		"the device":          {"ip", "link", "del", DeviceName},
		"all of nftables":     {"nft", "flush", "ruleset"},
		"our table":           {"nft", "delete", "table", "ip", "fairlead"},
		"an element of a map": {"nft", "flush", "map", "ip", "fairlead", "marks"},
	} {
		t.Run(name, func(t *testing.T) {
			n.run(command...)
			notified := command[0] != "ipvsadm"
			poll(t, "the repair", func() bool {
				if notified {
					select {
					case <-changed:
					case <-time.After(patience):
						t.Fatal("it is not notified")
					}
				}
				stats := n.sync(d)
				if stats.Repaired == 0 && !notified {
					time.Sleep(stats.NextLook) // as the agent does
				}
				return stats.Repaired > 0
			})
			n.answers()
			if diff := cmp.Diff(want, right()); diff != "" {
				t.Errorf("IPVS and nftables (-want +got):\n%s", diff)
			}
		})
	}
}

// Watch does not report changes by the dataplane itself.
func TestOwnDoing(t *testing.T) {
	n := newNetwork(t)
	d, empty := several(100), desiredOf()
	n.o.ReadBack = time.Hour
	n.sync(empty)
	changed := make(chan struct{}, 1000)
	ctx, cancel := context.WithCancel(context.Background())
	watching := make(chan error, 1)
	go func() { watching <- n.d.Watch(ctx, func() { changed <- struct{}{} }) }()
	n.run("ip", "addr", "add", "203.0.113.1/32", "dev", "eth0") // this notification shows that Watch has started
	poll(t, "a notification", func() bool {
		if len(changed) == 0 {
			n.run("ip", "addr", "del", "203.0.113.1/32", "dev", "eth0")
			n.run("ip", "addr", "add", "203.0.113.1/32", "dev", "eth0")
		}
		return len(changed) > 0
	})
	n.sync(empty)
	time.Sleep(impatience) // what comes late is of before
	for len(changed) > 0 {
		<-changed
	}
	n.sync(d)
	n.sync(empty)
	time.Sleep(impatience)
	if len(changed) > 0 {
		t.Errorf("called %d times", len(changed))
	}
	cancel()
	if err := <-watching; err != nil {
		t.Error(err)
	}
}

// The rest of the IPVS settings of a ProxyConfig are in the kernel.
func TestSettings(t *testing.T) {
	n := newNetwork(t)
	sticky := clusterIP("10.96.0.1:80", model.TCP, "10.244.0.1:8080", "10.244.0.2:8080")
	sticky.AffinityTimeoutSeconds = 10800
	sticky6 := clusterIP("[fd00:96::1]:80", model.TCP, "[fd00:244::1]:8080", "[fd00:244::2]:8080")
	sticky6.AffinityTimeoutSeconds = 600
	d := desiredOf(sticky, sticky6)
	n.o.StrictARP = true
	n.o.Timeouts = Timeouts{TCP: 7200, UDP: 200}
	n.sync(d)
	for command, want := range map[string]string{
		"ipvsadm -L --timeout":                     "Timeout (tcp tcpfin udp): 7200 120 200",
		"sysctl -n net.ipv4.conf.all.arp_ignore":   "1",
		"sysctl -n net.ipv4.conf.all.arp_announce": "2",
		"sysctl -n net.ipv4.vs.conntrack":          "1",
	} {
		if got := strings.TrimSpace(n.run(strings.Fields(command)...)); got != want {
			t.Errorf("%s: %s, want %s", command, got, want)
		}
	}
	table := n.run("ipvsadm", "-Ln")
	for _, want := range []string{"TCP  10.96.0.1:80 rr persistent 10800\n", "TCP  [fd00:96::1]:80 rr persistent 600\n"} {
		if !strings.Contains(table, want) {
			t.Errorf("there is no %q in\n%s", want, table)
		}
	}
	for vip, format := range map[string]string{"10.96.0.1:80": "198.51.100.%d", "[fd00:96::1]:80": "2001:db8::%x"} {
		used := map[string]bool{}
		for i := range 6 {
			got := n.tally(vip, 3, func(int) string { return fmt.Sprintf(format, i+2) })
			if len(got) != 1 {
				t.Errorf("a client comes to %v", got)
			}
			for e := range got {
				used[e] = true
			}
		}
		if len(used) != 2 {
			t.Errorf("all clients of %s come to %v: the kernel takes them for one", vip, used)
		}
	}
	// A client leaves an endpoint that drains, although it was persistent.
	s := n.dial("10.96.0.1:80")
	now := without(d, s.endpoint)
	n.sync(now)
	client, _, _ := strings.Cut(s.LocalAddr().String(), ":")
	if got := n.tally("10.96.0.1:80", 2, func(int) string { return client }); got[s.endpoint] > 0 {
		t.Errorf("a client with affinity comes to %v while %s drains", got, s.endpoint)
	}
}

// IPv4 works on a node without IPv6.
func TestNodeWithoutIPv6(t *testing.T) {
	n := newNetwork(t)
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	stats := n.sync(frontendsOnNode())
	if got := n.tally("10.96.0.1:80", 2, nil); len(got) != 2 {
		t.Errorf("connections came to %v", got)
	}
	if got := desiredtest.Unsupported(stats); !strings.Contains(got, "IPv6: net/ipv6/conf/all/disable_ipv6 is 1") {
		t.Errorf("unsupported: %s", got)
	}
}

// An endpoint that the kernel rejects is left out and named.
func TestBroadcastEndpoint(t *testing.T) {
	n := newNetwork(t)
	stats := n.sync(desiredOf(clusterIP("10.96.0.1:80", model.TCP, "10.244.0.1:8080", "10.244.0.255:8080")))
	if got := desiredtest.Unsupported(stats); !strings.Contains(got, "RealServer 1 [10.96.0.1:80/tcp]") || !strings.Contains(got, "10.244.0.255") {
		t.Errorf("unsupported: %v", got)
	}
	if got := n.tally("10.96.0.1:80", 4, nil); got["10.244.0.1"] != 4 {
		t.Errorf("connections came to %v", got)
	}
}

func TestCleanup(t *testing.T) {
	for name, restart := range map[string]bool{"running": false, "new": true} {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t)
			run(t, "ipvsadm", "-A", "-t", "198.51.100.1:22", "-s", "wlc")
			run(t, "ipvsadm", "-A", "-f", "77", "-s", "wlc")
			foreign := n.run("ipvsadm", "-Sn")
			n.sync(frontendsOnNode())
			n.answers()
			if restart {
				n.restart()
			}
			thread(t, n.node, func() error { return n.d.Cleanup(context.Background()) })
			if got := n.run("ipvsadm", "-Sn"); got != foreign {
				t.Errorf("virtual servers that are left: %s", got)
			}
			if got := n.run("ip", "link") + n.run("nft", "list", "tables"); strings.Contains(got, DeviceName) || strings.Contains(got, "fairlead") {
				t.Errorf("left: %s", got)
			}
			thread(t, n.node, func() error { return n.d.Cleanup(context.Background()) }) // of nothing
		})
	}
}

// Virtual servers of another network namespace that come and go, as those of a container do,
// change nothing on the node: neither read-backs nor a new agent miss a virtual server.
func TestChurnInAnotherNamespace(t *testing.T) {
	enterSpace(t)
	other, err := openKernel(int(newSpace(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.close() }()
	ctx, cancel := context.WithCancel(t.Context())
	churn := make(chan error, 1)
	go func() { churn <- comeAndGo(ctx, other) }()
	defer func() {
		cancel()
		if err := <-churn; err != nil {
			t.Errorf("the other namespace: %v", err)
		}
	}()

	want, o := several(300), defaults()
	o.ReadBack = 1 // each Sync reads
	missed := 0
	for range 3 {
		d := newDataplane(t)
		for i := range 40 {
			stats, err := d.Sync(ctx, want, o)
			if err != nil {
				t.Fatal("Sync:", err)
			}
			if first := i == 0; stats.Repaired != 0 || !first && stats.Operations != 0 {
				t.Errorf("Sync %d: %+v", i, stats)
			}
			list, err := d.servers.kernel.servers()
			if err != nil {
				t.Fatal(err)
			}
			keys := map[serverKey]bool{}
			for _, v := range list {
				keys[v.key] = true
			}
			if len(keys) != len(want.Frontends) {
				missed++
			}
		}
	}
	t.Logf("%d of 120 lists missed a virtual server", missed)
}

// comeAndGo adds and deletes virtual servers.
func comeAndGo(ctx context.Context, k kernel) error {
	for ctx.Err() == nil {
		for _, change := range []func(serverKey) error{
			func(key serverKey) error { return k.addServer(key, server{scheduler: "rr"}) }, k.deleteServer,
		} {
			for port := range uint16(100) {
				if err := change(onAddress(model.FrontendKey{Address: addr("10.96.0.1"), Protocol: model.TCP, Port: port + 1})); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
