// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package resolve_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	. "github.com/fairlead-proxy/fairlead/rules/internal/rulestest"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// rule is a slice of web with a port http:80 and one endpoint here.
func rule() *v1alpha1.ServiceRuleSliceSpec {
	return Specs(compile.Service(Input(Web(), WebSlice().Ready(L1, Here))), corev1.IPv4Protocol)[0]
}

func TestResolveFrontends(t *testing.T) {
	all := Service("web").Port("http", 80).NodePort(3001).LoadBalancer("1.2.3.4").ExternalIPs("192.168.99.11", "1.2.3.4", "172.30.0.41").
		Sources("203.0.113.0/25").ExternalLocal().Affinity(77)
	in := Input(all, Slice("web").Port("http", 8080).Ready(R1, There).Ready(L1, Here))
	got, err := resolve.Service(ThisNode().Node, WebID, Specs(compile.Service(in), corev1.IPv4Protocol))
	if err != nil {
		t.Fatal(err)
	}
	local, remote := Endpoint("10.180.0.1:8080"), Endpoint("10.180.1.1:8080")
	both := model.Backend{Verdict: model.Forward, Masquerade: model.MasqueradeUnlessPod, Endpoints: []model.Endpoint{local, remote}}
	mine := model.Backend{Verdict: model.Forward, Masquerade: model.MasqueradeNever, Endpoints: []model.Endpoint{local}, Local: true}
	frontend := func(kind model.Kind, address string, port uint16, internal, external model.Backend) model.Frontend {
		return model.Frontend{
			Key: model.FrontendKey{Address: Addr(address), Protocol: model.TCP, Port: port}, Kind: kind, Service: WebID, PortName: "http",
			Internal: internal, External: external, AffinityTimeoutSeconds: 77,
			PortKey: model.FrontendKey{Address: Addr("172.30.0.41"), Protocol: model.TCP, Port: 80}, Ports: 1,
		}
	}
	lb := frontend(model.KindLoadBalancer, "1.2.3.4", 80, both, mine)
	lb.Restricted, lb.Sources = true, []netip.Prefix{netip.MustParsePrefix("203.0.113.0/25")}
	want := resolve.Result{
		Frontends: []model.Frontend{
			frontend(model.KindClusterIP, "172.30.0.41", 80, both, both),
			lb,
			frontend(model.KindExternalIP, "192.168.99.11", 80, both, mine),
			frontend(model.KindNodePort, "0.0.0.0", 3001, both, mine),
		},
		LocalEndpoints: []netip.Addr{Addr(L1)},
	}
	if diff := cmp.Diff(want, got, ByValue); diff != "" {
		t.Errorf("resolved (-want +got):\n%s", diff)
	}
}

func TestResolveNothing(t *testing.T) {
	got, err := resolve.Service(ThisNode().Node, WebID, nil)
	if diff := cmp.Diff(resolve.Result{}, got, ByValue); diff != "" || err != nil {
		t.Errorf("error %v, resolved (-want +got):\n%s", err, diff)
	}
}

func TestAffinity(t *testing.T) {
	for name, c := range map[string]struct {
		service *ServiceBuilder
		node    *NodeBuilder
		want    int32
	}{
		"none":                          {Web(), ThisNode(), 0},
		"of the Service":                {Web().Affinity(77), ThisNode().Affinity(v1alpha1.AffinityFromService, 5), 77},
		"Service has none":              {Web(), ThisNode().Affinity(v1alpha1.AffinityFromService, 5), 0},
		"forced":                        {Web(), ThisNode().Affinity(v1alpha1.AffinityClientIP, 5), 5},
		"forced, the Service names one": {Web().Affinity(77), ThisNode().Affinity(v1alpha1.AffinityClientIP, 5), 77},
	} {
		t.Run(name, func(t *testing.T) {
			d := TableOf(t, c.node.Node, Input(c.service)).Desired()
			if got := d.Frontends[model.FrontendKey{Address: Addr("172.30.0.41"), Protocol: model.TCP, Port: 80}].AffinityTimeoutSeconds; got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}

// UDP flows stay at every endpoint that serves, wherever new ones go.
func TestServing(t *testing.T) {
	service := func() *ServiceBuilder { return Service("web").Port("http", 80).Protocol(corev1.ProtocolUDP) }
	slice := func() *SliceBuilder { return Slice("web").Port("http", 80).Protocol(corev1.ProtocolUDP) }
	for name, c := range map[string]struct {
		service *ServiceBuilder
		slice   *SliceBuilder
		want    []string
	}{
		"ready":                {service(), slice().Ready(R1, There).Ready(L1, Here), []string{L1, R1}},
		"one drains":           {service(), slice().Ready(L1, Here).Terminating(R1, There), []string{L1, R1}},
		"local policy":         {service().InternalLocal(), slice().Ready(L1, Here).Ready(R1, There), []string{L1, R1}},
		"hints":                {service(), slice().Ready(L1, Here).ForNodes(Here).Ready(R1, There).ForNodes(There), []string{L1, R1}},
		"one does not serve":   {service(), slice().Ready(L1, Here).Endpoint(R1, There, false, false, true), []string{L1}},
		"TCP, which ends":      {Web(), WebSlice().Ready(L1, Here), nil},
		"one serves elsewhere": {service(), slice().Terminating(R1, There), []string{R1}},
	} {
		t.Run(name, func(t *testing.T) {
			_, got := resolvedOf(t, c.service, c.slice)
			var serving []string
			for _, e := range got.Frontends[0].Serving {
				serving = append(serving, e.Addr().String())
			}
			if diff := cmp.Diff(c.want, serving); diff != "" {
				t.Errorf("serving (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLocalEndpoints(t *testing.T) {
	s := Slice("web").Port("http", 80).Port("admin", 81).
		Ready("10.0.0.9", Here).Ready("10.0.0.10", Here).Ready("10.0.0.1", There).Ready("10.0.0.2", "").Terminating("10.0.0.3", Here)
	in := Input(Service("web").Port("http", 80).Port("admin", 81), s)
	for name, c := range map[string]struct {
		node resolve.Node
		want []string
	}{
		"here":             {ThisNode().Node, []string{"10.0.0.9", "10.0.0.10"}},
		"there":            {ThisNode().Named(There).Node, []string{"10.0.0.1"}},
		"elsewhere":        {ThisNode().Named("third").Node, nil},
		"node has no name": {ThisNode().Named("").Node, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := resolve.Service(c.node, WebID, Specs(compile.Service(in), corev1.IPv4Protocol))
			if err != nil {
				t.Fatal(err)
			}
			var texts []string
			for _, a := range got.LocalEndpoints {
				texts = append(texts, a.String())
			}
			if diff := cmp.Diff(c.want, texts); diff != "" {
				t.Errorf("local endpoints (-want +got):\n%s", diff)
			}
		})
	}
}

// While the parts of a Service are rewritten one after the other, they may disagree: the
// ports and addresses of the first part count.
// While the parts are written one after the other, one may still have an endpoint as the
// fallback that another no longer needs.
func TestOutdatedFallback(t *testing.T) {
	for _, state := range []v1alpha1.EndpointState{v1alpha1.EndpointTerminating, v1alpha1.EndpointTerminatingLocal} {
		service := Web().NodePort(3001).ExternalLocal().InternalLocal()
		newer := Specs(compile.Service(Input(service, WebSlice().Ready(L1, Here))), corev1.IPv4Protocol)[0]
		older := Specs(compile.Service(Input(service, WebSlice().Ready("10.180.0.2", Here))), corev1.IPv4Protocol)[0]
		older.Part, older.Endpoints[0].State = 1, state
		got, err := resolve.Service(ThisNode().Node, WebID, []*v1alpha1.ServiceRuleSliceSpec{older, newer})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range got.Frontends {
			for view, backend := range f.Views() {
				if diff := cmp.Diff([]model.Endpoint{Endpoint(L1 + ":80")}, backend.Endpoints, ByValue); diff != "" {
					t.Errorf("%s %s, view %d (-want +got):\n%s", state, f.Key, view, diff)
				}
			}
		}
	}
}

func TestPartsThatDisagree(t *testing.T) {
	newer := Specs(compile.Service(Input(Web().Port("new", 90), Slice("web").Port("http", 80).Port("new", 9090).Ready(L1, Here).ForZones("a"))), corev1.IPv4Protocol)[0]
	older := Specs(compile.Service(Input(Service("web").IP("172.30.0.99").Port("old", 70).Port("http", 80),
		Slice("web").Port("old", 70).Port("http", 81).Ready(L1, Here).Ready(R1, There))), corev1.IPv4Protocol)[0]
	older.Part = 1
	for name, parts := range map[string][]*v1alpha1.ServiceRuleSliceSpec{"in order": {newer, older}, "reversed": {older, newer}} {
		t.Run(name, func(t *testing.T) {
			node := ThisNode().Zone("a").Node
			resolved, err := resolve.Service(node, WebID, parts)
			if err != nil {
				t.Fatal(err)
			}
			table := resolve.NewTable()
			table.Set(WebID, resolved)
			checkFlows(t, node, table.Desired(), []flow{
				// One endpoint has no hint, so none counts.
				{"host", "172.30.0.41:80", "10.180.0.1:80 10.180.0.1:81 10.180.1.1:81 snat"},
				{"host", "172.30.0.41:90", "10.180.0.1:9090 snat"},
				{"host", "172.30.0.99:80", "pass"},
			})
		})
	}
}

// TestResolveMalformed covers slices that compile never writes: malformed values are left
// out and named in the error, the rest works.
func TestResolveMalformed(t *testing.T) {
	endpointOf := func(address string) func(*v1alpha1.ServiceRuleSliceSpec) {
		return func(s *v1alpha1.ServiceRuleSliceSpec) {
			s.Endpoints = append(s.Endpoints, v1alpha1.RuleEndpoint{Address: address, TargetPorts: []int32{80}})
		}
	}
	for name, c := range map[string]struct {
		change func(*v1alpha1.ServiceRuleSliceSpec)
		want   string // in the error
	}{
		"endpoint is no address":    {endpointOf("x"), `endpoint x:80 is malformed: "x" is not`},
		"endpoint is loopback":      {endpointOf("127.0.0.1"), "endpoint 127.0.0.1:80 is malformed"},
		"endpoint is link-local":    {endpointOf("169.254.169.254"), "endpoint 169.254.169.254:80 is malformed"},
		"endpoint of other family":  {endpointOf("fd00::1"), "endpoint fd00::1:80 is malformed: wrong family"},
		"endpoint with a zone":      {endpointOf("fd00::1%eth0"), "must have no zone"},
		"endpoint port is negative": {func(s *v1alpha1.ServiceRuleSliceSpec) { endpointOf("10.0.0.9")(s); s.Endpoints[1].TargetPorts[0] = -1 }, "endpoint 10.0.0.9:-1"},
		"endpoint port is too big": {func(s *v1alpha1.ServiceRuleSliceSpec) {
			endpointOf("10.0.0.9")(s)
			s.Endpoints[1].TargetPorts[0] = 65616
		}, "endpoint 10.0.0.9:65616"},
		"external IP is loopback":   {func(s *v1alpha1.ServiceRuleSliceSpec) { s.ExternalIPs = []string{"127.0.0.1"} }, "ExternalIP 127.0.0.1:80 is malformed"},
		"external IP is mapped":     {func(s *v1alpha1.ServiceRuleSliceSpec) { s.ExternalIPs = []string{"::ffff:127.0.0.1"} }, "ExternalIP ::ffff:127.0.0.1:80 is malformed"},
		"load balancer unspecified": {func(s *v1alpha1.ServiceRuleSliceSpec) { s.LoadBalancerIPs = []string{"0.0.0.0"} }, "LoadBalancer 0.0.0.0:80 is malformed"},
		"load balancer IPv6":        {func(s *v1alpha1.ServiceRuleSliceSpec) { s.LoadBalancerIPs = []string{"2001:db8::1"} }, "wrong family"},
		"node port is too big":      {func(s *v1alpha1.ServiceRuleSliceSpec) { s.Ports[0].NodePort = 65536 }, "NodePort 0.0.0.0:65536 is malformed"},
		"port 0":                    {func(s *v1alpha1.ServiceRuleSliceSpec) { s.Ports = append(s.Ports, v1alpha1.RulePort{Name: "bad"}) }, `port "bad" is malformed`},
		"protocol": {func(s *v1alpha1.ServiceRuleSliceSpec) {
			s.Ports = append(s.Ports, v1alpha1.RulePort{Name: "bad", Port: 1, Protocol: "ICMP"})
		}, `port "bad" is malformed`},
	} {
		t.Run(name, func(t *testing.T) {
			spec := rule()
			c.change(spec)
			got, err := resolve.Service(ThisNode().Node, WebID, []*v1alpha1.ServiceRuleSliceSpec{spec})
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "default/web (IPv4)") {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if len(got.Frontends) != 1 || !cmp.Equal([]model.Endpoint{Endpoint("10.180.0.1:80")}, got.Frontends[0].Internal.Endpoints, ByValue) {
				t.Errorf("frontends %v", got.Frontends)
			}
		})
	}
}

// TestExternalIPPolicy checks which external IPs a node programs, and that the addresses of
// the apiserver are never among them, nor among those of load balancers.
func TestExternalIPPolicy(t *testing.T) {
	some := v1alpha1.ExternalIPOptions{Policy: v1alpha1.ExternalIPAllow, AllowedCIDRs: []string{"nonsense", "1.2.3.0/30", "2001:db8::/32"}}
	for name, c := range map[string]struct {
		options   v1alpha1.ExternalIPOptions
		apiServer string
		want      string
		failed    string
	}{
		"none":                       {v1alpha1.ExternalIPOptions{}, "192.0.2.1", "172.30.0.41 9.9.9.9", ""},
		"denied":                     {v1alpha1.ExternalIPOptions{Policy: v1alpha1.ExternalIPDeny}, "192.0.2.1", "172.30.0.41 9.9.9.9", ""},
		"denied whatever the ranges": {v1alpha1.ExternalIPOptions{Policy: v1alpha1.ExternalIPDeny, AllowedCIDRs: []string{"0.0.0.0/0"}}, "192.0.2.1", "172.30.0.41 9.9.9.9", ""},
		"allowed":                    {v1alpha1.ExternalIPOptions{Policy: v1alpha1.ExternalIPAllow}, "192.0.2.1", "172.30.0.41 9.9.9.9 1.2.3.3 1.2.3.4", ""},
		"some allowed":               {some, "192.0.2.1", "172.30.0.41 9.9.9.9 1.2.3.3", ""},
		"the apiserver's":            {v1alpha1.ExternalIPOptions{Policy: v1alpha1.ExternalIPAllow}, "1.2.3.3", "172.30.0.41 9.9.9.9 1.2.3.4", "ExternalIP 1.2.3.3:80 skipped"},
		"the apiserver's, balanced":  {some, "9.9.9.9", "172.30.0.41 1.2.3.3", "LoadBalancer 9.9.9.9:80 skipped"},
		"reached by the cluster IP":  {some, "172.30.0.41", "172.30.0.41 9.9.9.9 1.2.3.3", ""},
	} {
		t.Run(name, func(t *testing.T) {
			spec := rule()
			spec.ExternalIPs, spec.LoadBalancerIPs = []string{"1.2.3.3", "1.2.3.4"}, []string{"9.9.9.9"}
			node := ThisNode().Node
			node.Spec.ExternalIPs, node.APIServers = c.options, []netip.Addr{Addr("192.0.2.9"), Addr(c.apiServer)}
			got, err := resolve.Service(node, WebID, []*v1alpha1.ServiceRuleSliceSpec{spec})
			if (err == nil) != (c.failed == "") || err != nil && !strings.Contains(err.Error(), c.failed) {
				t.Errorf("error %v, want %q", err, c.failed)
			}
			var addresses []string
			for _, f := range got.Frontends {
				addresses = append(addresses, f.Key.Address.String())
			}
			if diff := cmp.Diff(c.want, strings.Join(addresses, " ")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Fewer target ports than ports, or a target port of 0, mean that the endpoint does not
// serve that port.
func TestMissingTargetPorts(t *testing.T) {
	spec := rule()
	spec.Ports = append(spec.Ports, v1alpha1.RulePort{Name: "admin", Protocol: corev1.ProtocolTCP, Port: 81})
	got, err := resolve.Service(ThisNode().Node, WebID, []*v1alpha1.ServiceRuleSliceSpec{spec})
	if err != nil || got.Frontends[0].Internal.Verdict != model.Forward || got.Frontends[1].Internal.Verdict != model.Reject {
		t.Errorf("error %v, frontends %v", err, got.Frontends)
	}
}

// TestPortsAreRounded checks how many ports a frontend says its Service has: those with
// frontends.
func TestPortsAreRounded(t *testing.T) {
	for ports, want := range map[int]int{1: 1, 2: 2, 3: 4, 5: 8, 8: 8} {
		service := Service("web")
		for i := range ports {
			service.Port(fmt.Sprint("p", i), int32(80+i))
		}
		parts := Specs(compile.Service(Input(service.NodePort(3001), WebSlice().Ready(L1, Here))), corev1.IPv4Protocol)
		parts[0].Ports = append(parts[0].Ports, v1alpha1.RulePort{Name: "malformed", Protocol: corev1.ProtocolTCP})
		got, _ := resolve.Service(ThisNode().Node, WebID, parts)
		if len(got.Frontends) != ports+1 {
			t.Errorf("%d ports have %d frontends", ports, len(got.Frontends))
		}
		for _, f := range got.Frontends {
			if f.Ports != want {
				t.Errorf("%d ports: %s says %d, want %d", ports, f.Key, f.Ports, want)
			}
		}
	}
}

// Malformed source ranges never open a frontend.
func TestMalformedSources(t *testing.T) {
	spec := rule()
	spec.LoadBalancerIPs = []string{"1.2.3.4"}
	spec.LoadBalancerSources = &v1alpha1.SourceRanges{Allowed: []string{"nonsense", "2001:db8::/32", "192.168.7.9/16", "192.168.0.0/16"}}
	got, err := resolve.Service(ThisNode().Node, WebID, []*v1alpha1.ServiceRuleSliceSpec{spec})
	if err == nil || !strings.Contains(err.Error(), `source range "nonsense"`) || !strings.Contains(err.Error(), "2001:db8::/32") {
		t.Errorf("error %v", err)
	}
	want := []netip.Prefix{netip.MustParsePrefix("1.2.3.4/32"), netip.MustParsePrefix("192.168.0.0/16")}
	if f := got.Frontends[1]; !f.Restricted || !cmp.Equal(want, f.Sources, ByValue) {
		t.Errorf("frontend %+v", f)
	}
}

// TestPortsOfAnotherPart checks that a port of a part that was written before is the same only by its name,
// its protocol and its number.
func TestPortsOfAnotherPart(t *testing.T) {
	port := func(name string, protocol corev1.Protocol, number int32) v1alpha1.RulePort {
		return v1alpha1.RulePort{Name: name, Protocol: protocol, Port: number}
	}
	for name, tc := range map[string]struct {
		ports []v1alpha1.RulePort
		want  []string
	}{
		"at another place": {[]v1alpha1.RulePort{port("other", "TCP", 81), port("http", "TCP", 80)}, []string{"10.0.0.9:9002", "10.180.0.1:80"}},
		"another number":   {[]v1alpha1.RulePort{port("http", "TCP", 81), port("http", "TCP", 82)}, []string{"10.180.0.1:80"}},
		"another protocol": {[]v1alpha1.RulePort{port("http", "UDP", 80), port("http", "SCTP", 80)}, []string{"10.180.0.1:80"}},
		"another name":     {[]v1alpha1.RulePort{port("h", "TCP", 80), port("", "TCP", 80)}, []string{"10.180.0.1:80"}},
		"the second fits":  {[]v1alpha1.RulePort{port("http", "UDP", 80), port("http", "TCP", 80)}, []string{"10.0.0.9:9002", "10.180.0.1:80"}},
		"no port":          {nil, []string{"10.180.0.1:80"}},
	} {
		t.Run(name, func(t *testing.T) {
			older := rule()
			older.Part, older.Ports = 1, tc.ports
			older.Endpoints = []v1alpha1.RuleEndpoint{{Address: "10.0.0.9", TargetPorts: []int32{9001, 9002}, State: v1alpha1.EndpointReady}}
			resolved, err := resolve.Service(ThisNode().Node, WebID, []*v1alpha1.ServiceRuleSliceSpec{rule(), older})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range resolved.Frontends[0].Internal.Endpoints {
				got = append(got, e.String())
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("endpoints (-want +got):\n%s", diff)
			}
		})
	}
}
