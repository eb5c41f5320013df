// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"net/netip"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/google/go-cmp/cmp"
)

// resolvedOf resolves the IPv4 rules of a Service on the fixture's node.
func resolvedOf(t *testing.T, s *serviceBuilder, endpoints ...*sliceBuilder) (ServiceID, Resolved) {
	t.Helper()
	id := ServiceID{s.Namespace, s.Name, corev1.IPv4Protocol}
	r, err := Resolve(thisNode().Node, id, specs(Compile(input(s, endpoints...)), corev1.IPv4Protocol))
	if err != nil {
		t.Fatal(err)
	}
	return id, r
}

func set(t *testing.T, table *Table, s *serviceBuilder, endpoints ...*sliceBuilder) {
	t.Helper()
	table.Set(resolvedOf(t, s, endpoints...))
}

// changes names the keys of a delta, with + for new and - for gone ones.
func changes(d Delta) []string {
	var out []string
	for _, c := range d.Frontends {
		sign := ""
		switch {
		case c.Old == nil:
			sign = "+"
		case c.New == nil:
			sign = "-"
		}
		out = append(out, sign+c.Key.String())
	}
	for _, a := range d.ClusterIPs.Added {
		out = append(out, "+cluster "+a.String())
	}
	for _, a := range d.ClusterIPs.Removed {
		out = append(out, "-cluster "+a.String())
	}
	for _, a := range d.LocalEndpoints.Added {
		out = append(out, "+local "+a.String())
	}
	for _, a := range d.LocalEndpoints.Removed {
		out = append(out, "-local "+a.String())
	}
	if d.Node != nil {
		out = append(out, "node")
	}
	return out
}

func wantChanges(t *testing.T, table *Table, want ...string) {
	t.Helper()
	d := table.Flush()
	if diff := cmp.Diff(want, changes(d), byValue); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if d.Empty() != (len(want) == 0) {
		t.Errorf("Empty: %v", d.Empty())
	}
}

// A Flush holds what changed and nothing else.
func TestFlushIsMinimal(t *testing.T) {
	table := NewTable()
	wantChanges(t, table)

	two := func() *serviceBuilder { return svc("web").port("http", 80).port("admin", 81) }
	endpoints := func() *sliceBuilder { return slice("web").port("http", 80).port("admin", 81).ready(l1, here) }
	set(t, table, two(), endpoints())
	wantChanges(t, table, "+172.30.0.41:80/tcp", "+172.30.0.41:81/tcp", "+cluster 172.30.0.41", "+local 10.180.0.1")
	wantChanges(t, table)

	set(t, table, two(), endpoints())
	wantChanges(t, table) // nothing changed

	set(t, table, two(), endpoints(), slice("web").named("web-2").port("http", 80).ready(r1, there))
	wantChanges(t, table, "172.30.0.41:80/tcp")

	set(t, table, two())
	set(t, table, two(), endpoints(), slice("web").named("web-2").port("http", 80).ready(r1, there))
	wantChanges(t, table) // back before anyone looked

	set(t, table, two().ip("172.30.0.42"), endpoints())
	wantChanges(t, table, "-172.30.0.41:80/tcp", "-172.30.0.41:81/tcp", "+172.30.0.42:80/tcp", "+172.30.0.42:81/tcp",
		"+cluster 172.30.0.42", "-cluster 172.30.0.41")

	table.Set(webID, Resolved{})
	wantChanges(t, table, "-172.30.0.42:80/tcp", "-172.30.0.42:81/tcp", "-cluster 172.30.0.42", "-local 10.180.0.1")
	table.Set(webID, Resolved{})
	wantChanges(t, table)
	if got := table.Counts(); got != (Counts{}) || len(table.Services()) > 0 {
		t.Errorf("left: %+v, %v", got, table.Services())
	}
}

func TestFlushSettings(t *testing.T) {
	table := NewTable()
	a := NodeSettings{NodePortLocalhost: true}
	table.SetNode(a)
	d := table.Flush()
	if d.Node == nil || !cmp.Equal(a, *d.Node, byValue) {
		t.Errorf("settings %+v", d.Node)
	}
	table.SetNode(a)
	wantChanges(t, table)
	table.SetNode(NodeSettings{PodInterface: "cni0"})
	table.SetNode(a)
	wantChanges(t, table) // back before anyone looked
	table.SetNode(NodeSettings{})
	wantChanges(t, table, "node")
}

// Endpoints and cluster IPs that several Services have stay until the last is gone.
func TestSharedAddresses(t *testing.T) {
	table := NewTable()
	set(t, table, web(), webSlice().ready(l1, here))
	table.Flush()
	set(t, table, svc("other").port("http", 81), slice("other").port("http", 80).ready(l1, here))
	wantChanges(t, table, "+172.30.0.41:81/tcp")
	table.Set(webID, Resolved{})
	wantChanges(t, table, "-172.30.0.41:80/tcp")
	table.Set(ServiceID{"default", "other", corev1.IPv4Protocol}, Resolved{})
	wantChanges(t, table, "-172.30.0.41:81/tcp", "-cluster 172.30.0.41", "-local 10.180.0.1")
}

// TestConflicts covers Services that claim the same address and port: the same
// one wins in every order of arrival, and the next one takes over.
func TestConflicts(t *testing.T) {
	key := FrontendKey{addr("172.30.0.41"), TCP, 80}
	nodePort := FrontendKey{addr("0.0.0.0"), TCP, 3001}
	plain := func(name string) *serviceBuilder { return svc(name).ip("172.30.1.1").port("http", 80) }
	for name, c := range map[string]struct {
		key      FrontendKey
		services []*serviceBuilder // in the order of precedence
	}{
		"cluster IP, load balancer, external IP": {key, []*serviceBuilder{
			svc("d").port("http", 80),
			plain("c").ip("172.30.1.2").loadBalancer("172.30.0.41"),
			plain("a").ip("172.30.1.3").externalIPs("172.30.0.41"),
			plain("b").ip("172.30.1.4").externalIPs("172.30.0.41"),
		}},
		"node port": {nodePort, []*serviceBuilder{
			plain("a").ip("172.30.1.1").nodePort(3001), plain("b").ip("172.30.1.2").nodePort(3001), plain("c").ip("172.30.1.3").nodePort(3001),
		}},
		"cluster IP": {key, []*serviceBuilder{svc("a").port("http", 80), svc("b").port("http", 80)}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, order := range permutations(len(c.services)) {
				table := NewTable()
				for _, i := range order {
					set(t, table, c.services[i])
				}
				shadow := NewDesired()
				for _, s := range c.services {
					d := table.Flush()
					d.Apply(&shadow)
					if got := shadow.Frontends[c.key]; got == nil || got.Service.Name != s.Name {
						t.Fatalf("order %v: got %+v, want that of %s", order, got, s.Name)
					}
					if diff := cmp.Diff(table.Desired(), shadow, byValue); diff != "" {
						t.Fatalf("order %v: (-desired +applied):\n%s", order, diff)
					}
					table.Set(ServiceID{"default", s.Name, corev1.IPv4Protocol}, Resolved{})
				}
			}
		})
	}
}

// The frontends of a port share a key, which is one of theirs: that of the cluster
// IP, as long as no other Service has it.
func TestPortKeys(t *testing.T) {
	table := NewTable()
	web := svc("web").port("http", 80).port("admin", 81).loadBalancer("1.2.3.4").externalIPs("1.2.3.5")
	wantKeys := func(when string, want map[string]string) {
		t.Helper()
		got := map[string]string{}
		for key, f := range table.Desired().Frontends {
			if f.Service == webID {
				got[key.String()] = f.PortKey.String()
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("port keys %s (-want +got):\n%s", when, diff)
		}
	}
	shared := map[string]string{
		"172.30.0.41:80/tcp": "172.30.0.41:80/tcp", "1.2.3.4:80/tcp": "172.30.0.41:80/tcp", "1.2.3.5:80/tcp": "172.30.0.41:80/tcp",
		"172.30.0.41:81/tcp": "172.30.0.41:81/tcp", "1.2.3.4:81/tcp": "172.30.0.41:81/tcp", "1.2.3.5:81/tcp": "172.30.0.41:81/tcp",
	}
	set(t, table, web)
	wantKeys("at first", shared)
	table.Flush()

	other := ServiceID{"default", "a", corev1.IPv4Protocol} // before web
	set(t, table, svc("a").port("http", 80).externalIPs("1.2.3.6"))
	wantKeys("beside another Service", map[string]string{
		"1.2.3.4:80/tcp": "1.2.3.4:80/tcp", "1.2.3.5:80/tcp": "1.2.3.5:80/tcp",
		"172.30.0.41:81/tcp": "172.30.0.41:81/tcp", "1.2.3.4:81/tcp": "172.30.0.41:81/tcp", "1.2.3.5:81/tcp": "172.30.0.41:81/tcp",
	})
	wantChanges(t, table, "1.2.3.4:80/tcp", "1.2.3.5:80/tcp", "+1.2.3.6:80/tcp", "172.30.0.41:80/tcp")

	table.Set(other, Resolved{})
	wantKeys("alone again", shared)
	wantChanges(t, table, "1.2.3.4:80/tcp", "1.2.3.5:80/tcp", "-1.2.3.6:80/tcp", "172.30.0.41:80/tcp")

	set(t, table, svc("z").port("http", 80)) // after web
	wantKeys("before another Service", shared)
	wantChanges(t, table)
}

func permutations(n int) [][]int {
	if n == 0 {
		return [][]int{nil}
	}
	var out [][]int
	for _, p := range permutations(n - 1) {
		for i := range n {
			out = append(out, slices.Insert(slices.Clone(p), i, n-1))
		}
	}
	return out
}

// Inside one Service an address that is two things is the first of cluster IP,
// load balancer and external IP.
func TestAddressOfTwoKinds(t *testing.T) {
	for name, c := range map[string]struct {
		service *serviceBuilder
		address string
		want    Kind
	}{
		"cluster IP and external IP":      {web().externalIPs("172.30.0.41"), "172.30.0.41", KindClusterIP},
		"cluster IP and load balancer":    {web().loadBalancer("172.30.0.41"), "172.30.0.41", KindClusterIP},
		"load balancer and external IP":   {web().loadBalancer("1.2.3.4").externalIPs("1.2.3.4"), "1.2.3.4", KindLoadBalancer},
		"only external IP":                {web().externalIPs("1.2.3.4"), "1.2.3.4", KindExternalIP},
		"load balancer twice":             {web().loadBalancer("1.2.3.4", "1.2.3.4"), "1.2.3.4", KindLoadBalancer},
		"load balancer, other IP, sloppy": {web().loadBalancer("1.2.3.04").externalIPs("001.2.3.4"), "1.2.3.4", KindLoadBalancer},
	} {
		t.Run(name, func(t *testing.T) {
			d := tableOf(t, thisNode().Node, input(c.service)).Desired()
			if got := d.Frontends[FrontendKey{addr(c.address), TCP, 80}]; got == nil || got.Kind != c.want {
				t.Errorf("got %+v, want %s", got, c.want)
			}
		})
	}
}

func TestCounts(t *testing.T) {
	both := svc("web").ip("172.30.0.41", "fd00:30::41").port("http", 80).nodePort(3001)
	table := tableOf(t, thisNode().Node,
		input(both, webSlice().ready(l1, here).ready(r1, there),
			slice("web").named("web-v6").kind("IPv6").port("http", 80).ready("fd00:10::1", here)),
		input(svc("other").ip("172.30.0.42").port("http", 80)))
	if got, want := table.Counts(), (Counts{Services: 2, Frontends: 5, Endpoints: 3}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := table.Services(); len(got) != 3 || !slices.Contains(got, webID) {
		t.Errorf("services %v", got)
	}
	table.Set(webID, Resolved{})
	if got, want := table.Counts(), (Counts{Services: 2, Frontends: 3, Endpoints: 1}); got != want {
		t.Errorf("without IPv4: got %+v, want %+v", got, want)
	}
}

func TestEqual(t *testing.T) {
	base := func() *Frontend {
		return &Frontend{
			Key: FrontendKey{addr("1.2.3.4"), TCP, 80}, Kind: KindLoadBalancer, Service: webID, PortName: "http",
			Internal:               Backend{Forward, MasqueradeAlways, []Endpoint{endpoint("10.0.0.1:80")}, false},
			External:               Backend{Forward, MasqueradeNever, []Endpoint{endpoint("10.0.0.1:80")}, false},
			AffinityTimeoutSeconds: 1, PortKey: FrontendKey{addr("172.30.0.41"), TCP, 80}, Restricted: true, Sources: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		}
	}
	for name, change := range map[string]func(*Frontend){
		"key":                 func(f *Frontend) { f.Key.Port++ },
		"kind":                func(f *Frontend) { f.Kind = KindExternalIP },
		"service":             func(f *Frontend) { f.Service.Name = "x" },
		"port name":           func(f *Frontend) { f.PortName = "x" },
		"internal verdict":    func(f *Frontend) { f.Internal.Verdict = Drop },
		"external masquerade": func(f *Frontend) { f.External.Masquerade = MasqueradeAlways },
		"endpoints":           func(f *Frontend) { f.External.Endpoints = nil },
		"serving":             func(f *Frontend) { f.Serving = []Endpoint{endpoint("10.0.0.1:80")} },
		"affinity":            func(f *Frontend) { f.AffinityTimeoutSeconds++ },
		"port key":            func(f *Frontend) { f.PortKey.Port++ },
		"local endpoints":     func(f *Frontend) { f.External.Local = true },
		"restricted":          func(f *Frontend) { f.Restricted = false },
		"sources":             func(f *Frontend) { f.Sources = nil },
	} {
		t.Run(name, func(t *testing.T) {
			other := base()
			change(other)
			if base().Equal(other) || other.Equal(base()) {
				t.Error("equal")
			}
		})
	}
	var none *Frontend
	if !base().Equal(base()) || !none.Equal(nil) || none.Equal(base()) || base().Equal(none) {
		t.Error("Equal of the same, or of nil")
	}
}
