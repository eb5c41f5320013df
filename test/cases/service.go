// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"cmp"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Service is a Service, written as its spec with a few more fields, and its
// endpoints in short form. What is absent gets the values that the apiserver
// would set.
type Service struct {
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels,omitempty"`

	corev1.ServiceSpec

	// Ingress are the load balancer's addresses, in the Service's status.
	Ingress []corev1.LoadBalancerIngress `json:"ingress,omitempty"`

	// Endpoints are written into an EndpointSlice. See README.md for the form.
	Endpoints []string `json:"endpoints,omitempty"`
}

const namespace = "default"

// object returns the Service as the apiserver would hold it.
func (s Service) object() *corev1.Service {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: s.Name, Labels: s.Labels},
		Spec:       *s.ServiceSpec.DeepCopy(),
	}
	svc.Status.LoadBalancer.Ingress = s.Ingress
	spec := &svc.Spec
	if len(spec.ClusterIPs) == 0 && spec.ClusterIP != "" {
		spec.ClusterIPs = []string{spec.ClusterIP}
	}
	if len(spec.ClusterIPs) > 0 {
		spec.ClusterIP = spec.ClusterIPs[0]
	}
	for _, ip := range spec.ClusterIPs {
		if ip != corev1.ClusterIPNone {
			spec.IPFamilies = append(spec.IPFamilies, corev1.IPFamily(addressType(ip)))
		}
	}
	kind := corev1.ServiceTypeClusterIP
	for i := range spec.Ports {
		p := &spec.Ports[i]
		p.Protocol = cmp.Or(p.Protocol, corev1.ProtocolTCP)
		if p.TargetPort == (intstr.IntOrString{}) {
			p.TargetPort = intstr.FromInt32(p.Port)
		}
		if p.NodePort != 0 {
			kind = corev1.ServiceTypeNodePort
		}
	}
	if s.Ingress != nil {
		kind = corev1.ServiceTypeLoadBalancer
	}
	spec.Type = cmp.Or(spec.Type, kind)
	spec.SessionAffinity = cmp.Or(spec.SessionAffinity, corev1.ServiceAffinityNone)
	if spec.SessionAffinity == corev1.ServiceAffinityClientIP && spec.SessionAffinityConfig == nil {
		timeout := corev1.DefaultClientIPServiceAffinitySeconds
		spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &timeout}}
	}
	return svc
}

// slices returns the EndpointSlices of the endpoints in short form, one for each
// family. Its ports are the target ports of the Service's.
func (s Service) slices() ([]*discoveryv1.EndpointSlice, error) {
	byFamily := map[discoveryv1.AddressType]*discoveryv1.EndpointSlice{}
	var all []*discoveryv1.EndpointSlice
	for _, text := range s.Endpoints {
		e, err := parseEndpoint(text)
		if err != nil {
			return nil, fmt.Errorf("service %s: %w", s.Name, err)
		}
		family := addressType(e.Addresses[0])
		slice := byFamily[family]
		if slice == nil {
			slice = &discoveryv1.EndpointSlice{
				ObjectMeta: metav1.ObjectMeta{
					Namespace: namespace, Name: fmt.Sprintf("%s-%s", s.Name, strings.ToLower(string(family))),
					Labels: map[string]string{discoveryv1.LabelServiceName: s.Name},
				},
				AddressType: family,
			}
			for _, p := range s.object().Spec.Ports {
				slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{
					Name: &p.Name, Protocol: &p.Protocol, Port: &p.TargetPort.IntVal})
			}
			byFamily[family] = slice
			all = append(all, slice)
		}
		slice.Endpoints = append(slice.Endpoints, e)
	}
	return all, nil
}

func addressType(address string) discoveryv1.AddressType {
	if strings.Contains(address, ":") {
		return discoveryv1.AddressTypeIPv6
	}
	return discoveryv1.AddressTypeIPv4
}

// The nodes of endpoints that are on this node, and elsewhere.
const (
	thisNode  = "test-node"
	otherNode = "other-node"
)

// conditions are ready, serving and terminating, by the letters that follow L or R.
var conditions = map[string][3]bool{
	"":  {true, true, false},
	"t": {false, true, true},
	"u": {false, false, false},
	"x": {false, false, true},
	"p": {true, true, true},
}

// parseEndpoint reads for example "Lt 10.180.0.1 zones=a,b". See README.md.
func parseEndpoint(text string) (discoveryv1.Endpoint, error) {
	words := strings.Fields(text)
	if len(words) < 2 {
		return discoveryv1.Endpoint{}, fmt.Errorf("endpoint %q must be for example L 10.180.0.1", text)
	}
	state, known := conditions[words[0][1:]]
	node, knownNode := map[byte]string{'L': thisNode, 'R': otherNode, '-': ""}[words[0][0]]
	if !known || !knownNode {
		return discoveryv1.Endpoint{}, fmt.Errorf("endpoint %q: %s must be L, R or -, followed by nothing or one of t, u, x, p", text, words[0])
	}
	e := discoveryv1.Endpoint{
		Addresses:  []string{words[1]},
		Conditions: discoveryv1.EndpointConditions{Ready: &state[0], Serving: &state[1], Terminating: &state[2]},
	}
	if len(words) > 2 {
		e.Hints = &discoveryv1.EndpointHints{}
	}
	for _, word := range words[2:] {
		key, list, _ := strings.Cut(word, "=")
		for value := range strings.SplitSeq(list, ",") {
			switch key {
			case "zones":
				e.Hints.ForZones = append(e.Hints.ForZones, discoveryv1.ForZone{Name: value})
			case "nodes":
				e.Hints.ForNodes = append(e.Hints.ForNodes, discoveryv1.ForNode{Name: value})
			case "on":
				node = value
			default:
				return e, fmt.Errorf("endpoint %q: %s must be zones=, nodes= or on=", text, word)
			}
		}
	}
	if node != "" {
		e.NodeName = &node
	}
	return e, nil
}
