// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

func TestAPIServers(t *testing.T) {
	slice := func(namespace, name string, family corev1.IPFamily, endpoints ...v1alpha1.RuleEndpoint) *v1alpha1.ServiceRuleSliceSpec {
		return &v1alpha1.ServiceRuleSliceSpec{ServiceNamespace: namespace, ServiceName: name, AddressFamily: family, Parts: 1,
			Ports:     []v1alpha1.RulePort{{Name: "konnectivity", Protocol: "TCP", Port: 8132}, {Name: "https", Protocol: "TCP", Port: 443}},
			Endpoints: endpoints, Digest: namespace + name + string(family)}
	}
	at := func(address string, state v1alpha1.EndpointState, ports ...int32) v1alpha1.RuleEndpoint {
		return v1alpha1.RuleEndpoint{Address: address, State: state, TargetPorts: ports}
	}
	in := NewStore(time.Now)
	if got := in.APIServers(); got != nil {
		t.Errorf("without slices: %v", got)
	}
	in.ReplaceSlices(map[string]*v1alpha1.ServiceRuleSliceSpec{
		"a": slice("default", "kubernetes", corev1.IPv4Protocol, at("192.0.2.2", "", 0, 6443), at("192.0.2.1", v1alpha1.EndpointReady, 8132, 6443),
			at("192.0.2.3", v1alpha1.EndpointDraining, 0, 6443), at("192.0.2.4", "", 8132, 0), at("192.0.2.5", "", 8132)),
		"b": slice("default", "kubernetes", corev1.IPv6Protocol, at("2001:db8::1", "", 0, 6443)),
		"c": slice("aaa", "kubernetes", corev1.IPv4Protocol, at("198.51.100.1", "", 0, 6443)),
		"d": slice("default", "kubernetes2", corev1.IPv4Protocol, at("198.51.100.2", "", 0, 6443)),
	}, true)
	in.ReachedAt([]string{"192.0.2.9:6443", "apiserver.example:6443", "192.0.2.1:443"})
	in.SetNode(testNodeRules(1))
	in.NodeSynced()
	ch, ok := in.Take()
	addresses := []string{"192.0.2.1", "192.0.2.2", "192.0.2.9", "2001:db8::1"}
	if diff := cmp.Diff(addresses, texts(ch.APIServers)); diff != "" || !ok {
		t.Errorf("addresses: %s", diff)
	}
	want := []string{"192.0.2.1:6443", "192.0.2.2:6443", "[2001:db8::1]:6443"}
	if diff := cmp.Diff(want, in.APIServers()); diff != "" {
		t.Error(diff)
	}
}

// TestNewAPIServer checks that all Services are resolved again when the apiserver gets another
// address: one of them may have it as an external IP.
func TestNewAPIServer(t *testing.T) {
	in := NewStore(time.Now)
	in.SetNode(testNodeRules(1))
	in.NodeSynced()
	web := agenttest.Web("10.96.0.9", "10.244.1.2")
	servers := func(address string) *v1alpha1.ServiceRuleSliceSpec {
		return &v1alpha1.ServiceRuleSliceSpec{ServiceNamespace: "default", ServiceName: "kubernetes", AddressFamily: corev1.IPv4Protocol, Parts: 1,
			Ports: []v1alpha1.RulePort{{Name: "https", Protocol: "TCP", Port: 443}}, Digest: address,
			Endpoints: []v1alpha1.RuleEndpoint{{Address: address, TargetPorts: []int32{6443}}}}
	}
	const name = "default.kubernetes-v4-0"
	in.ReplaceSlices(map[string]*v1alpha1.ServiceRuleSliceSpec{name: servers("192.0.2.1"), agenttest.WebName: web}, true)
	for _, step := range []struct {
		address string
		want    int // Services to resolve
	}{{"192.0.2.1", 2}, {"192.0.2.1", 0}, {"192.0.2.2", 2}, {"192.0.2.2", 0}} {
		in.SetSlice(name, servers(step.address), time.Time{})
		ch, ok := in.Take()
		if !ok || len(ch.Services) != step.want || !slices.Equal(texts(ch.APIServers), []string{step.address}) {
			t.Errorf("%s: %d Services to resolve, want %d; addresses %v", step.address, len(ch.Services), step.want, ch.APIServers)
		}
	}
}

func texts(addresses []netip.Addr) (out []string) {
	for _, a := range addresses {
		out = append(out, a.String())
	}
	return out
}
