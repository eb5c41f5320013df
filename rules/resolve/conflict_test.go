// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package resolve_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	. "github.com/fairlead-proxy/fairlead/rules/internal/rulestest"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// TestConflictsAgreeWithTable finds what two Services claim, in both directions, and the
// winner that a Table chooses.
func TestConflictsAgreeWithTable(t *testing.T) {
	a := func() *ServiceBuilder { return Service("a").Port("http", 80) }
	b := func() *ServiceBuilder { return Service("b").IP("172.30.0.42").Port("http", 80) }
	for name, c := range map[string]struct {
		a, b *ServiceBuilder
		want []string
	}{
		"nothing in common":                {a(), b(), nil},
		"external IP is the other's":       {a(), b().ExternalIPs("172.30.0.41"), []string{"172.30.0.41:80/tcp: a's ClusterIP before b's ExternalIP"}},
		"and the winner is not the first":  {a().ExternalIPs("172.30.0.42"), b(), []string{"172.30.0.42:80/tcp: b's ClusterIP before a's ExternalIP"}},
		"other port":                       {a(), Service("b").IP("172.30.0.42").Port("http", 81).ExternalIPs("172.30.0.41"), nil},
		"other protocol":                   {a(), Service("b").IP("172.30.0.42").Port("http", 80).Protocol(corev1.ProtocolUDP).ExternalIPs("172.30.0.41"), nil},
		"balancer's before external":       {a().ExternalIPs("1.2.3.4"), b().LoadBalancer("1.2.3.4"), []string{"1.2.3.4:80/tcp: b's LoadBalancer before a's ExternalIP"}},
		"the same kind: the first by name": {a().ExternalIPs("1.2.3.4"), b().ExternalIPs("1.2.3.4"), []string{"1.2.3.4:80/tcp: a's ExternalIP before b's ExternalIP"}},
		"the same kind: the older": {a().Created(2).ExternalIPs("1.2.3.4"), b().Created(1).ExternalIPs("1.2.3.4"), []string{
			"1.2.3.4:80/tcp: b's ExternalIP before a's ExternalIP"}},
		"the same kind: one of unknown age": {a().ExternalIPs("1.2.3.4"), b().Created(1).ExternalIPs("1.2.3.4"), []string{
			"1.2.3.4:80/tcp: b's ExternalIP before a's ExternalIP"}},
		"the cluster IP's, though younger": {a().Created(1).ExternalIPs("172.30.0.42"), b().Created(2), []string{
			"172.30.0.42:80/tcp: b's ClusterIP before a's ExternalIP"}},
		"node ports are the apiserver's care": {a().NodePort(30001), b().NodePort(30002), nil},
		"its own external IP":                 {a().ExternalIPs("172.30.0.41"), b().ExternalIPs("172.30.0.41"), []string{"172.30.0.41:80/tcp: a's ClusterIP before b's ExternalIP"}},
		"several": {a().Port("s", 443).ExternalIPs("1.2.3.4"), b().Port("s", 443).ExternalIPs("1.2.3.4"), []string{
			"1.2.3.4:80/tcp: a's ExternalIP before b's ExternalIP", "1.2.3.4:443/tcp: a's ExternalIP before b's ExternalIP"}},
	} {
		t.Run(name, func(t *testing.T) {
			idA, idB := model.ServiceID{Namespace: "default", Name: "a", Family: corev1.IPv4Protocol}, model.ServiceID{Namespace: "default", Name: "b", Family: corev1.IPv4Protocol}
			specA, specB := Specs(compile.Service(Input(c.a)), corev1.IPv4Protocol)[0], Specs(compile.Service(Input(c.b)), corev1.IPv4Protocol)[0]
			claimsA, claimsB := resolve.ClaimsOf(idA, specA), resolve.ClaimsOf(idB, specB)
			conflicts := claimsA.Conflicts(claimsB)
			if diff := cmp.Diff(conflicts, claimsB.Conflicts(claimsA), ByValue); diff != "" {
				t.Errorf("the other way round:\n%s", diff)
			}
			table := TableOf(t, ThisNode().Node, Input(c.a), Input(c.b))
			var got []string
			for _, f := range conflicts {
				got = append(got, fmt.Sprintf("%s: %s's %s before %s's %s", f.Key, f.Winner.Name, f.WinnerKind, f.Loser.Name, f.LoserKind))
				if has := table.Desired().Frontends[f.Key].Service; has != f.Winner {
					t.Errorf("%s: the table has %s, Conflicts says %s", f.Key, has, f.Winner)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("conflicts (-want +got):\n%s", diff)
			}
		})
	}
}

// TestMalformedClaims checks that what cannot be programmed claims nothing, and that conflicts are sorted.
func TestMalformedClaims(t *testing.T) {
	spec := func(change func(*v1alpha1.ServiceRuleSliceSpec)) *v1alpha1.ServiceRuleSliceSpec {
		s := &v1alpha1.ServiceRuleSliceSpec{ExternalIPs: []string{"1.2.3.4"}, Ports: []v1alpha1.RulePort{{Protocol: corev1.ProtocolTCP, Port: 80}}}
		change(s)
		return s
	}
	for name, tc := range map[string]struct {
		change func(*v1alpha1.ServiceRuleSliceSpec)
		want   []string
	}{
		"an address":             {func(*v1alpha1.ServiceRuleSliceSpec) {}, []string{"1.2.3.4:80/tcp"}},
		"no address":             {func(s *v1alpha1.ServiceRuleSliceSpec) { s.ExternalIPs = []string{"bad", ""} }, nil},
		"the loopback":           {func(s *v1alpha1.ServiceRuleSliceSpec) { s.ExternalIPs = []string{"127.0.0.1"} }, nil},
		"of the other family":    {func(s *v1alpha1.ServiceRuleSliceSpec) { s.ExternalIPs = []string{"2001:db8::1"} }, nil},
		"written in another way": {func(s *v1alpha1.ServiceRuleSliceSpec) { s.ExternalIPs = []string{"01.2.3.04"} }, []string{"1.2.3.4:80/tcp"}},
		"an unknown protocol":    {func(s *v1alpha1.ServiceRuleSliceSpec) { s.Ports[0].Protocol = "ICMP" }, nil},
		"port 0":                 {func(s *v1alpha1.ServiceRuleSliceSpec) { s.Ports[0].Port = 0 }, nil},
		"port 65535":             {func(s *v1alpha1.ServiceRuleSliceSpec) { s.Ports[0].Port = 65535 }, []string{"1.2.3.4:65535/tcp"}},
		"port 65536":             {func(s *v1alpha1.ServiceRuleSliceSpec) { s.Ports[0].Port = 65536 }, nil},
		"several": {func(s *v1alpha1.ServiceRuleSliceSpec) {
			s.ExternalIPs = []string{"1.2.3.9", "1.2.3.4", "1.2.3.10"}
			s.Ports = append(s.Ports, v1alpha1.RulePort{Protocol: corev1.ProtocolUDP, Port: 53}, v1alpha1.RulePort{Protocol: corev1.ProtocolTCP, Port: 443})
		}, []string{"1.2.3.4:80/tcp", "1.2.3.4:443/tcp", "1.2.3.4:53/udp", "1.2.3.9:80/tcp", "1.2.3.9:443/tcp", "1.2.3.9:53/udp",
			"1.2.3.10:80/tcp", "1.2.3.10:443/tcp", "1.2.3.10:53/udp"}},
	} {
		t.Run(name, func(t *testing.T) {
			claims := func(name string) resolve.Claims {
				return resolve.ClaimsOf(model.ServiceID{Namespace: "default", Name: name, Family: corev1.IPv4Protocol}, spec(tc.change))
			}
			var got []string
			for _, c := range claims("a").Conflicts(claims("b")) {
				got = append(got, c.Key.String())
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("conflicts (-want +got):\n%s", diff)
			}
		})
	}
}
