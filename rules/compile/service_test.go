// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	. "github.com/fairlead-proxy/fairlead/rules/internal/rulestest"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

func TestIsProxied(t *testing.T) {
	for name, c := range map[string]struct {
		service *ServiceBuilder
		want    bool
	}{
		"ClusterIP":                     {Service("web"), true},
		"NodePort":                      {Service("web").Port("http", 80).NodePort(3001), true},
		"S1 headless":                   {Service("web").IP("None"), false},
		"S1 no address yet":             {Service("web").IP(""), false},
		"S2 ExternalName":               {Service("web").Kind(corev1.ServiceTypeExternalName), false},
		"S3 other proxy":                {Service("web").Label("service.kubernetes.io/service-proxy-name", "kube-router"), false},
		"S3 other proxy, empty value":   {Service("web").Label("service.kubernetes.io/service-proxy-name", ""), false},
		"label that only looks like it": {Service("web").Label("service-proxy-name", "x"), true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := model.IsProxied(c.service.Service); got != c.want {
				t.Errorf("IsProxied: got %v, want %v", got, c.want)
			}
			c.service.Port("extra", 81)
			compiled := compile.Service(Input(c.service, Slice("web").Port("extra", 81).Ready(Ep(1), Here)))
			if got := len(compiled.Slices) == 1; got != c.want || len(compiled.Problems) > 0 {
				t.Errorf("slices: %v, problems %v", compiled.Slices, compiled.Problems)
			}
		})
	}
}

// EndpointSlices that do not belong to the Service are left out without a problem.
func TestForeignSlices(t *testing.T) {
	unlabelled := WebSlice().Ready(Ep(1), Here)
	unlabelled.Labels = nil
	elsewhere := WebSlice().Ready(Ep(1), Here)
	elsewhere.Namespace = "other"
	nameless := Slice("web").RawPort(discoveryv1.EndpointPort{}).Ready(Ep(1), Here)
	for name, s := range map[string]*SliceBuilder{
		"S4 no label of a Service": unlabelled,
		"S4 another Service":       Slice("other").Port("http", 80).Ready(Ep(1), Here),
		"S4 another namespace":     elsewhere,
		"S5 FQDN":                  WebSlice().Kind(discoveryv1.AddressTypeFQDN).Ready("example.com", ""),
		"S6 port without name":     nameless,
		"other family":             WebSlice().Kind(discoveryv1.AddressTypeIPv6).Ready("fd00:10::1", Here),
		"headless":                 WebSlice().Label(corev1.IsHeadlessService, "").Ready(Ep(1), Here),
		"no ports":                 Slice("web").Ready(Ep(1), Here),
	} {
		t.Run(name, func(t *testing.T) {
			compiled := compile.Service(Input(Web(), s))
			if got := States(compiled); len(got) > 0 || len(compiled.Problems) > 0 {
				t.Errorf("endpoints %v, problems %v", got, compiled.Problems)
			}
		})
	}
}

func TestCompileHeader(t *testing.T) {
	for name, c := range map[string]struct {
		service *ServiceBuilder
		want    func(*v1alpha1.ServiceRuleSliceSpec)
	}{
		"plain":              {Web(), func(*v1alpha1.ServiceRuleSliceSpec) {}},
		"C11 sloppy address": {Web().IP(" 172.30.00.041 "), func(*v1alpha1.ServiceRuleSliceSpec) {}},
		"no protocol is TCP": {Web().Protocol(""), func(*v1alpha1.ServiceRuleSliceSpec) {}},
		"addresses sorted, canonical, once": {
			Web().ExternalIPs("192.168.99.011", "10.0.0.9", "192.168.99.11", "2001:db8::1").LoadBalancer("5.6.7.8", "1.2.3.4"),
			func(s *v1alpha1.ServiceRuleSliceSpec) {
				s.ExternalIPs = []string{"10.0.0.9", "192.168.99.11"}
				s.LoadBalancerIPs = []string{"1.2.3.4", "5.6.7.8"}
			},
		},
		"source ranges canonical": {
			Web().LoadBalancer("1.2.3.4").Sources("203.0.113.77/25", " 010.0.0.0/08 ", "2001:db8::/32", "10.0.0.0/8"),
			func(s *v1alpha1.ServiceRuleSliceSpec) {
				s.LoadBalancerIPs = []string{"1.2.3.4"}
				s.LoadBalancerSources = &v1alpha1.SourceRanges{Allowed: []string{"10.0.0.0/8", "203.0.113.0/25"}}
			},
		},
		"B11 source ranges of the other family": {
			Web().LoadBalancer("1.2.3.4").Sources("2001:db8::/32"),
			func(s *v1alpha1.ServiceRuleSliceSpec) {
				s.LoadBalancerIPs = []string{"1.2.3.4"}
				s.LoadBalancerSources = &v1alpha1.SourceRanges{}
			},
		},
		"B8 /0 opens": {
			Web().LoadBalancer("1.2.3.4").Sources("10.0.0.0/8", "0.0.0.0/0", "192.0.2.0/24"),
			func(s *v1alpha1.ServiceRuleSliceSpec) { s.LoadBalancerIPs = []string{"1.2.3.4"} },
		},
		"B8 /0 of the other family does not open": {
			Web().LoadBalancer("1.2.3.4").Sources("::/0"),
			func(s *v1alpha1.ServiceRuleSliceSpec) {
				s.LoadBalancerIPs = []string{"1.2.3.4"}
				s.LoadBalancerSources = &v1alpha1.SourceRanges{}
			},
		},
		"source ranges without a load balancer's address": {Web().Sources("10.0.0.0/8"), func(*v1alpha1.ServiceRuleSliceSpec) {}},
		"affinity": {Web().Affinity(77), func(s *v1alpha1.ServiceRuleSliceSpec) { s.AffinityTimeoutSeconds = 77 }},
		"affinity, timeout absent": {
			Web().Affinity(0), func(s *v1alpha1.ServiceRuleSliceSpec) { s.AffinityTimeoutSeconds = 10800 },
		},
		"health check": {
			healthCheck(Web().LoadBalancer("1.2.3.4").ExternalLocal(), 32000),
			func(s *v1alpha1.ServiceRuleSliceSpec) {
				s.LoadBalancerIPs, s.HealthCheckNodePort = []string{"1.2.3.4"}, 32000
				s.ExternalTrafficPolicy = v1alpha1.TrafficPolicyLocal
			},
		},
		"health check, policy Cluster": {
			healthCheck(Web().LoadBalancer("1.2.3.4"), 32000),
			func(s *v1alpha1.ServiceRuleSliceSpec) { s.LoadBalancerIPs = []string{"1.2.3.4"} },
		},
		"health check, not a LoadBalancer": {
			healthCheck(Web().NodePort(3001).ExternalLocal(), 32000),
			func(s *v1alpha1.ServiceRuleSliceSpec) {
				s.Ports[0].NodePort = 3001
				s.ExternalTrafficPolicy = v1alpha1.TrafficPolicyLocal
			},
		},
		"internal policy Local": {
			Web().InternalLocal(), func(s *v1alpha1.ServiceRuleSliceSpec) { s.InternalTrafficPolicy = v1alpha1.TrafficPolicyLocal },
		},
	} {
		t.Run(name, func(t *testing.T) { hasHeader(t, c.service, c.want) })
	}
}

// TestCompileHeaderDefaults covers what is absent, and what says explicitly what is the default.
func TestCompileHeaderDefaults(t *testing.T) {
	for name, c := range map[string]struct {
		service *ServiceBuilder
		want    func(*v1alpha1.ServiceRuleSliceSpec)
	}{
		"affinity, no client IP configured": {
			configured(Web().Affinity(0), &corev1.SessionAffinityConfig{}), func(s *v1alpha1.ServiceRuleSliceSpec) { s.AffinityTimeoutSeconds = 10800 },
		},
		"affinity, no timeout configured": {
			configured(Web().Affinity(0), &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{}}),
			func(s *v1alpha1.ServiceRuleSliceSpec) { s.AffinityTimeoutSeconds = 10800 },
		},
		"no affinity, though a timeout is configured": {
			configured(Web(), &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: new(int32(77))}}), func(*v1alpha1.ServiceRuleSliceSpec) {},
		},
		"a load balancer with a name": {Web().Ingress(corev1.LoadBalancerIngress{Hostname: "lb.example.com"}), func(*v1alpha1.ServiceRuleSliceSpec) {}},
		"IP modes": {
			Web().Ingress(Ingress("1.2.3.4", corev1.LoadBalancerIPModeVIP), Ingress("1.2.3.5", corev1.LoadBalancerIPModeProxy)),
			func(s *v1alpha1.ServiceRuleSliceSpec) { s.LoadBalancerIPs = []string{"1.2.3.4"} },
		},
		"the highest ports": {
			Web().Port("last", 65535).NodePort(65535),
			func(s *v1alpha1.ServiceRuleSliceSpec) {
				s.Ports = append(s.Ports, v1alpha1.RulePort{Name: "last", Protocol: corev1.ProtocolTCP, Port: 65535, NodePort: 65535})
			},
		},
		"its age": {Web().Created(1700000000), func(s *v1alpha1.ServiceRuleSliceSpec) { s.ServiceCreated = metav1.Unix(1700000000, 0) }},
		"internal policy Cluster": {
			internalCluster(Web()), func(*v1alpha1.ServiceRuleSliceSpec) {},
		},
	} {
		t.Run(name, func(t *testing.T) { hasHeader(t, c.service, c.want) })
	}
}

// hasHeader checks all of a Service's rules but its endpoints. change says how they differ from those of a
// plain Service.
func hasHeader(t *testing.T, service *ServiceBuilder, change func(*v1alpha1.ServiceRuleSliceSpec)) {
	t.Helper()
	want := &v1alpha1.ServiceRuleSliceSpec{
		ServiceNamespace: "default", ServiceName: "web", AddressFamily: corev1.IPv4Protocol, Parts: 1, ClusterIP: "172.30.0.41",
		ExternalTrafficPolicy: v1alpha1.TrafficPolicyCluster, InternalTrafficPolicy: v1alpha1.TrafficPolicyCluster,
		Ports: []v1alpha1.RulePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80}},
	}
	change(want)
	compiled := compile.Service(Input(service))
	if len(compiled.Slices) != 1 || len(compiled.Problems) > 0 {
		t.Fatalf("%d slices, problems %v", len(compiled.Slices), compiled.Problems)
	}
	if diff := cmp.Diff(*want, compiled.Slices[0].Spec, ignoreDigest); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
}

var ignoreDigest = cmpopts.IgnoreFields(v1alpha1.ServiceRuleSliceSpec{}, "Digest")

func configured(b *ServiceBuilder, c *corev1.SessionAffinityConfig) *ServiceBuilder {
	b.Spec.SessionAffinityConfig = c
	return b
}

func internalCluster(b *ServiceBuilder) *ServiceBuilder {
	b.Spec.InternalTrafficPolicy = new(corev1.ServiceInternalTrafficPolicyCluster)
	return b
}

func healthCheck(b *ServiceBuilder, port int32) *ServiceBuilder {
	b.Spec.HealthCheckNodePort = port
	return b
}

// The newest change of an EndpointSlice is that of the compiled rules.
func TestTriggerOfService(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 250_000_000, time.UTC)
	newer, older := WebSlice(), WebSlice().Named("web-2")
	newer.Annotations, older.Annotations = model.TriggerAnnotation(at), model.TriggerAnnotation(at.Add(-time.Minute))
	for _, slices := range [][]*SliceBuilder{{newer, older}, {older, newer}} {
		if got := compile.Service(Input(Web(), slices...)).Trigger; !got.Equal(at) {
			t.Errorf("got %s, want %s", got, at)
		}
	}
}

func TestFamilies(t *testing.T) {
	old := Web()
	old.Spec.ClusterIPs = nil
	for name, c := range map[string]struct {
		service *ServiceBuilder
		want    map[string]string // slice: cluster IP
	}{
		"IPv4":                    {Web(), map[string]string{"default.web-v4-0": "172.30.0.41"}},
		"IPv6":                    {Web().IP("FD00:30:0::0041"), map[string]string{"default.web-v6-0": "fd00:30::41"}},
		"both":                    {Web().IP("172.30.0.41", "fd00:30::41"), map[string]string{"default.web-v4-0": "172.30.0.41", "default.web-v6-0": "fd00:30::41"}},
		"both, IPv6 first":        {Web().IP("fd00:30::41", "172.30.0.41"), map[string]string{"default.web-v4-0": "172.30.0.41", "default.web-v6-0": "fd00:30::41"}},
		"from before dual stack":  {old, map[string]string{"default.web-v4-0": "172.30.0.41"}},
		"two of a family":         {Web().IP("172.30.0.41", "172.30.0.42"), map[string]string{"default.web-v4-0": "172.30.0.41"}},
		"IPv4 mapped into IPv6":   {Web().IP("::ffff:172.30.0.41"), map[string]string{"default.web-v4-0": "172.30.0.41"}},
		"one of two is malformed": {Web().IP("172.30.0.41", "fd00::x"), map[string]string{"default.web-v4-0": "172.30.0.41"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := map[string]string{}
			for _, s := range compile.Service(Input(c.service)).Slices {
				got[s.Name] = s.Spec.ClusterIP
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("cluster IPs (-want +got):\n%s", diff)
			}
		})
	}
}
