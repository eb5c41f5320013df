// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package resolve_test

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/rules/compile"
	. "github.com/fairlead-proxy/fairlead/rules/internal/rulestest"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// resolvedOf resolves the IPv4 rules of a Service on the fixture's node.
func resolvedOf(t *testing.T, s *ServiceBuilder, endpoints ...*SliceBuilder) (model.ServiceID, resolve.Result) {
	t.Helper()
	id := model.ServiceID{Namespace: s.Namespace, Name: s.Name, Family: corev1.IPv4Protocol}
	r, err := resolve.Service(ThisNode().Node, id, Specs(compile.Service(Input(s, endpoints...)), corev1.IPv4Protocol))
	if err != nil {
		t.Fatal(err)
	}
	return id, r
}

func set(t *testing.T, table *resolve.Table, s *ServiceBuilder, endpoints ...*SliceBuilder) {
	t.Helper()
	table.Set(resolvedOf(t, s, endpoints...))
}

// changes names the keys of a delta, with + for new and - for gone ones.
func changes(d model.Delta) []string {
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

func wantChanges(t *testing.T, table *resolve.Table, want ...string) {
	t.Helper()
	d := table.Flush()
	if diff := cmp.Diff(want, changes(d), ByValue); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if d.Empty() != (len(want) == 0) {
		t.Errorf("Empty: %v", d.Empty())
	}
}

// A Flush returns what changed and nothing else.
func TestFlushIsMinimal(t *testing.T) {
	table := resolve.NewTable()
	wantChanges(t, table)

	two := func() *ServiceBuilder { return Service("web").Port("http", 80).Port("admin", 81) }
	endpoints := func() *SliceBuilder { return Slice("web").Port("http", 80).Port("admin", 81).Ready(L1, Here) }
	set(t, table, two(), endpoints())
	wantChanges(t, table, "+172.30.0.41:80/tcp", "+172.30.0.41:81/tcp", "+cluster 172.30.0.41", "+local 10.180.0.1")
	wantChanges(t, table)

	set(t, table, two(), endpoints())
	wantChanges(t, table) // nothing changed

	set(t, table, two(), endpoints(), Slice("web").Named("web-2").Port("http", 80).Ready(R1, There))
	wantChanges(t, table, "172.30.0.41:80/tcp")

	set(t, table, two())
	set(t, table, two(), endpoints(), Slice("web").Named("web-2").Port("http", 80).Ready(R1, There))
	wantChanges(t, table) // reverted before the flush

	set(t, table, two().IP("172.30.0.42"), endpoints())
	wantChanges(t, table, "-172.30.0.41:80/tcp", "-172.30.0.41:81/tcp", "+172.30.0.42:80/tcp", "+172.30.0.42:81/tcp",
		"+cluster 172.30.0.42", "-cluster 172.30.0.41")

	table.Set(WebID, resolve.Result{})
	wantChanges(t, table, "-172.30.0.42:80/tcp", "-172.30.0.42:81/tcp", "-cluster 172.30.0.42", "-local 10.180.0.1")
	table.Set(WebID, resolve.Result{})
	wantChanges(t, table)
	if got := table.Counts(); got != (resolve.Counts{}) || len(table.Services()) > 0 {
		t.Errorf("left: %+v, %v", got, table.Services())
	}
}

func TestFlushSettings(t *testing.T) {
	table := resolve.NewTable()
	a := model.NodeSettings{NodePortLocalhost: true}
	table.SetNode(a)
	d := table.Flush()
	if d.Node == nil || !cmp.Equal(a, *d.Node, ByValue) {
		t.Errorf("settings %+v", d.Node)
	}
	table.SetNode(a)
	wantChanges(t, table)
	table.SetNode(model.NodeSettings{PodInterface: "cni0"})
	table.SetNode(a)
	wantChanges(t, table) // reverted before the flush
	table.SetNode(model.NodeSettings{})
	wantChanges(t, table, "node")
}

// Endpoints and cluster IPs that several Services have stay until the last one is gone.
func TestSharedAddresses(t *testing.T) {
	table := resolve.NewTable()
	set(t, table, Web(), WebSlice().Ready(L1, Here))
	table.Flush()
	set(t, table, Service("other").Port("http", 81), Slice("other").Port("http", 80).Ready(L1, Here))
	wantChanges(t, table, "+172.30.0.41:81/tcp")
	table.Set(WebID, resolve.Result{})
	wantChanges(t, table, "-172.30.0.41:80/tcp")
	table.Set(model.ServiceID{Namespace: "default", Name: "other", Family: corev1.IPv4Protocol}, resolve.Result{})
	wantChanges(t, table, "-172.30.0.41:81/tcp", "-cluster 172.30.0.41", "-local 10.180.0.1")
}

// TestConflicts covers Services that claim the same address and port: the same one wins in
// every order of arrival, and the next one takes over.
func TestConflicts(t *testing.T) {
	key := model.FrontendKey{Address: Addr("172.30.0.41"), Protocol: model.TCP, Port: 80}
	nodePort := model.FrontendKey{Address: Addr("0.0.0.0"), Protocol: model.TCP, Port: 3001}
	in := func(namespace string, s *ServiceBuilder) *ServiceBuilder { s.Namespace = namespace; return s }
	plain := func(name string) *ServiceBuilder { return Service(name).IP("172.30.1.1").Port("http", 80) }
	for name, c := range map[string]struct {
		key      model.FrontendKey
		services []*ServiceBuilder // in the order of precedence
	}{
		"cluster IP, load balancer, external IP": {key, []*ServiceBuilder{
			Service("d").Port("http", 80),
			plain("c").IP("172.30.1.2").LoadBalancer("172.30.0.41"),
			plain("a").IP("172.30.1.3").ExternalIPs("172.30.0.41"),
			plain("b").IP("172.30.1.4").ExternalIPs("172.30.0.41"),
		}},
		"node port": {nodePort, []*ServiceBuilder{
			plain("a").IP("172.30.1.1").NodePort(3001), plain("b").IP("172.30.1.2").NodePort(3001), plain("c").IP("172.30.1.3").NodePort(3001),
		}},
		"the older one": {key, []*ServiceBuilder{
			plain("c").IP("172.30.1.1").Created(1).ExternalIPs("172.30.0.41"),
			plain("b").IP("172.30.1.2").Created(2).ExternalIPs("172.30.0.41"),
			plain("d").IP("172.30.1.3").Created(2).ExternalIPs("172.30.0.41"),
			plain("a").IP("172.30.1.4").ExternalIPs("172.30.0.41"),
		}},
		"the first by namespace, then by name": {key, []*ServiceBuilder{
			in("a", plain("d").IP("172.30.1.1").ExternalIPs("172.30.0.41")),
			in("b", plain("a").IP("172.30.1.2").ExternalIPs("172.30.0.41")),
			in("b", plain("b").IP("172.30.1.3").ExternalIPs("172.30.0.41")),
			in("c", plain("c").IP("172.30.1.4").ExternalIPs("172.30.0.41")),
		}},
		"the older one, not the first by namespace": {key, []*ServiceBuilder{
			in("b", plain("a").IP("172.30.1.1").Created(1).ExternalIPs("172.30.0.41")),
			in("a", plain("b").IP("172.30.1.2").Created(2).ExternalIPs("172.30.0.41")),
		}},
		"the stronger one, not the older": {key, []*ServiceBuilder{
			Service("c").Created(3).Port("http", 80),
			plain("b").IP("172.30.1.2").Created(2).LoadBalancer("172.30.0.41"),
			plain("a").IP("172.30.1.3").Created(1).ExternalIPs("172.30.0.41"),
		}},
		"cluster IP": {key, []*ServiceBuilder{Service("a").Port("http", 80), Service("b").Port("http", 80)}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, order := range permutations(len(c.services)) {
				table := resolve.NewTable()
				for _, i := range order {
					set(t, table, c.services[i])
				}
				shadow := model.NewDesired()
				for _, s := range c.services {
					d := table.Flush()
					d.Apply(&shadow)
					if got := shadow.Frontends[c.key]; got == nil || got.Service.Name != s.Name || got.Service.Namespace != s.Namespace {
						t.Fatalf("order %v: got %+v, want that of %s", order, got, s.Name)
					}
					if diff := cmp.Diff(table.Desired(), shadow, ByValue); diff != "" {
						t.Fatalf("order %v: (-desired +applied):\n%s", order, diff)
					}
					table.Set(model.ServiceID{Namespace: s.Namespace, Name: s.Name, Family: corev1.IPv4Protocol}, resolve.Result{})
				}
			}
		})
	}
}

// The frontends of a port share a key, which belongs to one of them: that of the cluster
// IP, unless another Service has it.
func TestPortKeys(t *testing.T) {
	table := resolve.NewTable()
	web := Service("web").Port("http", 80).Port("admin", 81).LoadBalancer("1.2.3.4").ExternalIPs("1.2.3.5")
	wantKeys := func(when string, want map[string]string) {
		t.Helper()
		got := map[string]string{}
		for key, f := range table.Desired().Frontends {
			if f.Service == WebID {
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

	other := model.ServiceID{Namespace: "default", Name: "a", Family: corev1.IPv4Protocol} // before web
	set(t, table, Service("a").Port("http", 80).ExternalIPs("1.2.3.6"))
	wantKeys("beside another Service", map[string]string{
		"1.2.3.4:80/tcp": "1.2.3.4:80/tcp", "1.2.3.5:80/tcp": "1.2.3.5:80/tcp",
		"172.30.0.41:81/tcp": "172.30.0.41:81/tcp", "1.2.3.4:81/tcp": "172.30.0.41:81/tcp", "1.2.3.5:81/tcp": "172.30.0.41:81/tcp",
	})
	wantChanges(t, table, "1.2.3.4:80/tcp", "1.2.3.5:80/tcp", "+1.2.3.6:80/tcp", "172.30.0.41:80/tcp")

	table.Set(other, resolve.Result{})
	wantKeys("alone again", shared)
	wantChanges(t, table, "1.2.3.4:80/tcp", "1.2.3.5:80/tcp", "-1.2.3.6:80/tcp", "172.30.0.41:80/tcp")

	set(t, table, Service("z").Port("http", 80)) // after web
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

// If an address of a Service has two kinds, the first of cluster IP, load balancer and
// external IP counts.
func TestAddressOfTwoKinds(t *testing.T) {
	for name, c := range map[string]struct {
		service *ServiceBuilder
		address string
		want    model.Kind
	}{
		"cluster IP and external IP":      {Web().ExternalIPs("172.30.0.41"), "172.30.0.41", model.KindClusterIP},
		"cluster IP and load balancer":    {Web().LoadBalancer("172.30.0.41"), "172.30.0.41", model.KindClusterIP},
		"load balancer and external IP":   {Web().LoadBalancer("1.2.3.4").ExternalIPs("1.2.3.4"), "1.2.3.4", model.KindLoadBalancer},
		"only external IP":                {Web().ExternalIPs("1.2.3.4"), "1.2.3.4", model.KindExternalIP},
		"load balancer twice":             {Web().LoadBalancer("1.2.3.4", "1.2.3.4"), "1.2.3.4", model.KindLoadBalancer},
		"load balancer, other IP, sloppy": {Web().LoadBalancer("1.2.3.04").ExternalIPs("001.2.3.4"), "1.2.3.4", model.KindLoadBalancer},
	} {
		t.Run(name, func(t *testing.T) {
			d := TableOf(t, ThisNode().Node, Input(c.service)).Desired()
			if got := d.Frontends[model.FrontendKey{Address: Addr(c.address), Protocol: model.TCP, Port: 80}]; got == nil || got.Kind != c.want {
				t.Errorf("got %+v, want %s", got, c.want)
			}
		})
	}
}

func TestCounts(t *testing.T) {
	both := Service("web").IP("172.30.0.41", "fd00:30::41").Port("http", 80).NodePort(3001)
	table := TableOf(t, ThisNode().Node,
		Input(both, WebSlice().Ready(L1, Here).Ready(R1, There),
			Slice("web").Named("web-v6").Kind("IPv6").Port("http", 80).Ready("fd00:10::1", Here)),
		Input(Service("other").IP("172.30.0.42").Port("http", 80)))
	if got, want := table.Counts(), (resolve.Counts{Services: 2, Frontends: 5, Endpoints: 3}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := table.Services(); len(got) != 3 || !slices.Contains(got, WebID) {
		t.Errorf("services %v", got)
	}
	if got := table.Forwarding(); len(got) != 2 {
		t.Errorf("forwards %v", got)
	}
	table.Set(WebID, resolve.Result{})
	if got, want := table.Counts(), (resolve.Counts{Services: 2, Frontends: 3, Endpoints: 1}); got != want {
		t.Errorf("without IPv4: got %+v, want %+v", got, want)
	}
	if diff := cmp.Diff([]corev1.IPFamily{corev1.IPv6Protocol}, table.Forwarding()); diff != "" {
		t.Errorf("forwards (-want +got):\n%s", diff)
	}
}
