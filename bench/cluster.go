// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/compile"
)

const (
	namespace   = "default"
	nodeName    = "node-0"
	nodeAddress = "192.0.2.10"

	shapePlain, shapeFull = "plain", "full"

	// endpointsEach is how many endpoints a Service has.
	endpointsEach = 10

	// podsEach is how many Pods a node has, and so how many endpoints are local.
	podsEach = 100

	// Every affinityEach-th Service of the full shape has session affinity.
	affinityEach = 4

	firstNodePort = 10000

	// maxServices is how many node ports there are from firstNodePort on.
	maxServices = 1<<16 - firstNodePort
)

// cluster is a made-up cluster. A Service of the plain shape has a cluster IP.
// One of the full shape also has a node port and a load balancer IP with source
// ranges, and some have session affinity.
type cluster struct {
	services int
	full     bool
	mode     v1alpha1.ProxyMode // of the node; empty: NFTables
}

func (c cluster) shape() string {
	if c.full {
		return shapeFull
	}
	return shapePlain
}

func (c cluster) String() string {
	return fmt.Sprintf("%d Services x %d, %s", c.services, endpointsEach, c.shape())
}

// slice returns the compiled rules of a Service. Each version has one endpoint
// that the previous version does not have.
func (c cluster) slice(i, version int) (compile.Slice, error) {
	compiled := compile.Service(compile.Input{Service: c.service(i),
		EndpointSlices: []*discoveryv1.EndpointSlice{c.endpoints(i, version, endpointsEach)}})
	if len(compiled.Slices) != 1 || len(compiled.Problems) > 0 {
		return compile.Slice{}, fmt.Errorf("compile Service %d: %+v", i, compiled)
	}
	return compiled.Slices[0], nil
}

// changes returns a function that replaces one endpoint of one Service at each
// call, across the cluster.
func (c cluster) changes() func() (compile.Slice, error) {
	versions, i := map[int]int{}, 0
	return func() (compile.Slice, error) {
		i = (i + 7919) % c.services
		versions[i]++
		return c.slice(i, versions[i])
	}
}

func serviceName(i int) string { return fmt.Sprintf("service-%05d", i) }

func (c cluster) service(i int) *corev1.Service {
	vip := nth("10.96.0.0", i+1)
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: serviceName(i)},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, ClusterIP: vip, ClusterIPs: []string{vip},
			Ports: []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80}},
		},
	}
	if !c.full {
		return s
	}
	s.Spec.Type = corev1.ServiceTypeLoadBalancer
	s.Spec.Ports[0].NodePort = firstNodePort + int32(i)
	s.Spec.LoadBalancerSourceRanges = []string{"10.0.0.0/8", nth("172.16.0.0", i%16<<16) + "/16", "203.0.113.0/24"}
	s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: nth("198.18.0.0", i+1)}}
	if i%affinityEach == 0 {
		s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	}
	return s
}

// endpoints returns n endpoints of a Service, spread over the nodes.
func (c cluster) endpoints(i, version, n int) *discoveryv1.EndpointSlice {
	ready, name, number, protocol := true, "http", int32(8080), corev1.ProtocolTCP
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: serviceName(i),
			Labels: map[string]string{discoveryv1.LabelServiceName: serviceName(i)}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &number, Protocol: &protocol}},
	}
	nodes := max(c.services*endpointsEach/podsEach, 1)
	for j := range n + 1 {
		// One address more than endpoints: each version leaves out a different one.
		if j == version%(n+1) {
			continue
		}
		pod := i*(n+1) + j
		node := fmt.Sprintf("node-%d", pod%nodes)
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{nth("10.128.0.0", pod)}, NodeName: &node,
			Conditions: discoveryv1.EndpointConditions{Ready: &ready},
		})
	}
	return s
}

// nth returns the n-th address from a first one.
func nth(first string, n int) string {
	b := netip.MustParseAddr(first).As4()
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, binary.BigEndian.Uint32(b[:])+uint32(n)))).String()
}

// node is the NodeRuleSet of the node that is measured.
func node() v1alpha1.NodeRuleSetSpec {
	return v1alpha1.NodeRuleSetSpec{
		Policy: v1alpha1.PolicyReference{Name: "default", Generation: 1},
		Mode:   v1alpha1.ModeNFTables,
		Node:   v1alpha1.NodeFacts{Addresses: []string{nodeAddress}, PodCIDRs: []string{"10.128.0.0/24"}},

		ExternalIPs: v1alpha1.ExternalIPOptions{Policy: v1alpha1.ExternalIPAllow},
	}
}
