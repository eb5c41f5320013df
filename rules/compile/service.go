// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package compile makes the objects that agents read: the ServiceRuleSlices of a Service
// and its EndpointSlices, and the NodeRuleSet of a Node under a policy. It decides
// everything that is the same on all nodes. All of it is pure.
package compile

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// defaultAffinityTimeout is the API's default in seconds of a Service's
// sessionAffinityConfig.clientIP.timeoutSeconds.
const defaultAffinityTimeout = 10800

// Input is what the rules of a Service are compiled from.
type Input struct {
	Service        *corev1.Service
	EndpointSlices []*discoveryv1.EndpointSlice

	// Parts is the number of parts per family that the API holds now; nil: none. It keeps
	// the number of parts from flapping when the endpoints vary around a limit.
	Parts map[corev1.IPFamily]int32

	// Cluster knows the addresses that no Service can have as an external IP; nil: there
	// are none.
	Cluster *Cluster
}

// Result is what Service compiles.
type Result struct {
	// Slices are ordered by family and part; none if the Service is not proxied.
	Slices []Slice

	// Problems are the values that were left out.
	Problems []Problem

	// Trigger is the time of the newest change in the EndpointSlices.
	Trigger time.Time
}

// Slice is a ServiceRuleSlice.
type Slice struct {
	Name string
	Spec v1alpha1.ServiceRuleSliceSpec
}

// Service compiles the slices of a Service. It decides everything that is the same on all
// nodes: which endpoints are usable, the fallback to terminating ones, whether topology
// hints count, and the canonical form of every address. The order of its inputs does not
// matter.
func Service(in Input) Result {
	if !model.IsProxied(in.Service) {
		return Result{}
	}
	var out Result
	problems := &problemList{}
	vips := clusterIPs(in.Service, problems)
	for _, family := range []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol} {
		vip, ok := vips[family]
		if !ok {
			continue
		}
		header := compileHeader(in, family, problems)
		header.ClusterIP = vip.String()
		endpoints := compileEndpoints(in, &header, problems)
		out.Slices = append(out.Slices, split(header, endpoints, in.Parts[family])...)
	}
	out.Problems, out.Trigger = problems.sorted(), model.Newest(in.EndpointSlices, model.Changed)
	return out
}

// clusterIPs returns the Service's virtual address of each family. Objects written before
// dual stack have clusterIP only.
func clusterIPs(svc *corev1.Service, problems *problemList) map[corev1.IPFamily]netip.Addr {
	texts := svc.Spec.ClusterIPs
	if len(texts) == 0 {
		texts = []string{svc.Spec.ClusterIP}
	}
	vips := map[corev1.IPFamily]netip.Addr{}
	for _, text := range texts {
		addr, err := model.ParseAddr(text)
		if err == nil {
			err = model.ValidateFrontendAddress(addr)
		}
		if err != nil {
			problems.add("Service", svc.Namespace, svc.Name, "cluster IP skipped: %v", err)
			continue
		}
		if _, taken := vips[model.FamilyOf(addr)]; !taken {
			vips[model.FamilyOf(addr)] = addr
		}
	}
	return vips
}

// compileHeader compiles everything of a Service except its endpoints.
func compileHeader(in Input, family corev1.IPFamily, problems *problemList) v1alpha1.ServiceRuleSliceSpec {
	svc := in.Service
	spec := v1alpha1.ServiceRuleSliceSpec{
		ServiceNamespace:      svc.Namespace,
		ServiceName:           svc.Name,
		ServiceCreated:        svc.CreationTimestamp,
		AddressFamily:         family,
		ExternalTrafficPolicy: v1alpha1.TrafficPolicyCluster,
		InternalTrafficPolicy: v1alpha1.TrafficPolicyCluster,
	}
	spec.ExternalIPs = frontendAddresses(svc, svc.Spec.ExternalIPs, family, "spec.externalIPs", problems)
	spec.ExternalIPs = withoutReserved(in, spec.ExternalIPs, problems)
	spec.LoadBalancerIPs = frontendAddresses(svc, loadBalancerIPs(svc), family, "status.loadBalancer.ingress", problems)
	if len(spec.LoadBalancerIPs) > 0 {
		spec.LoadBalancerSources = sourceRanges(svc, family, problems)
	}
	if svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
		spec.ExternalTrafficPolicy = v1alpha1.TrafficPolicyLocal
		if svc.Spec.Type == corev1.ServiceTypeLoadBalancer {
			spec.HealthCheckNodePort = svc.Spec.HealthCheckNodePort
		}
	}
	if p := svc.Spec.InternalTrafficPolicy; p != nil && *p == corev1.ServiceInternalTrafficPolicyLocal {
		spec.InternalTrafficPolicy = v1alpha1.TrafficPolicyLocal
	}
	if svc.Spec.SessionAffinity == corev1.ServiceAffinityClientIP {
		spec.AffinityTimeoutSeconds = defaultAffinityTimeout
		if c := svc.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
			spec.AffinityTimeoutSeconds = *c.ClientIP.TimeoutSeconds
		}
	}
	for _, p := range svc.Spec.Ports {
		port := v1alpha1.RulePort{Name: p.Name, Protocol: p.Protocol, Port: p.Port, NodePort: p.NodePort}
		if port.Protocol == "" {
			port.Protocol = corev1.ProtocolTCP
		}
		if model.ProtocolOf(port.Protocol) == 0 || !model.ValidPort(port.Port) || port.NodePort != 0 && !model.ValidPort(port.NodePort) {
			problems.add("Service", svc.Namespace, svc.Name,
				"port %q skipped: %s %d (node port %d) must be TCP, UDP or SCTP and within 1-65535", p.Name, p.Protocol, p.Port, p.NodePort)
			continue
		}
		spec.Ports = append(spec.Ports, port)
	}
	applyBounds(svc, &spec, problems)
	return spec
}

// loadBalancerIPs returns the load balancer addresses that packets arrive with. With
// ipMode Proxy the load balancer rewrites the destination (KEP-1860), and traffic of Pods
// to its address must leave the node.
func loadBalancerIPs(svc *corev1.Service) []string {
	var ips []string
	for _, ing := range svc.Status.LoadBalancer.Ingress {
		if ing.IP != "" && (ing.IPMode == nil || *ing.IPMode == corev1.LoadBalancerIPModeVIP) {
			ips = append(ips, ing.IP)
		}
	}
	return ips
}

func frontendAddresses(svc *corev1.Service, texts []string, family corev1.IPFamily, field string, problems *problemList) []string {
	var addrs []netip.Addr
	for _, text := range texts {
		addr, err := model.ParseAddr(text)
		if err == nil {
			err = model.ValidateFrontendAddress(addr)
		}
		if err != nil {
			problems.add("Service", svc.Namespace, svc.Name, "entry of %s skipped: %v", field, err)
			continue
		}
		if model.FamilyOf(addr) == family {
			addrs = append(addrs, addr)
		}
	}
	return sortedStrings(addrs, netip.Addr.Compare)
}

// withoutReserved leaves out the external IPs that belong to the cluster, and reports those
// that policies deny, which each node decides for itself.
func withoutReserved(in Input, externalIPs []string, problems *problemList) []string {
	svc := in.Service
	return slices.DeleteFunc(externalIPs, func(text string) bool {
		addr := netip.MustParseAddr(text) // from frontendAddresses
		if what := in.Cluster.reserved(addr); what != "" {
			problems.add("Service", svc.Namespace, svc.Name, "entry of spec.externalIPs skipped: %s is %s", addr, what)
			return true
		}
		if names := in.Cluster.denied(addr); len(names) > 0 {
			problems.add("Service", svc.Namespace, svc.Name,
				"entry of spec.externalIPs: %s is not programmed on nodes of the ProxyConfig %s, whose spec.externalIPs denies it",
				addr, strings.Join(names, ", "))
		}
		return false
	})
}

// sourceRanges returns the allowed sources of a family; nil allows everyone. A list
// without a CIDR of this family denies everyone in it, because its author wanted to
// restrict the Service (kube-proxy allows everyone in that family).
func sourceRanges(svc *corev1.Service, family corev1.IPFamily, problems *problemList) *v1alpha1.SourceRanges {
	if len(svc.Spec.LoadBalancerSourceRanges) == 0 {
		return nil
	}
	var prefixes []netip.Prefix
	open := false
	for _, text := range svc.Spec.LoadBalancerSourceRanges {
		p, err := model.ParsePrefix(text)
		if err != nil {
			problems.add("Service", svc.Namespace, svc.Name,
				"entry of spec.loadBalancerSourceRanges skipped: %v; write for example 192.0.2.0/24", err)
			continue
		}
		if model.FamilyOf(p.Addr()) != family {
			continue
		}
		open = open || p.Bits() == 0
		prefixes = append(prefixes, p)
	}
	if open {
		return nil
	}
	return &v1alpha1.SourceRanges{Allowed: sortedStrings(prefixes, model.ComparePrefix)}
}

// sortedStrings returns the addresses or prefixes as text, sorted by value and
// without duplicates; nil if there are none.
func sortedStrings[T interface {
	comparable
	fmt.Stringer
}](values []T, compare func(a, b T) int) []string {
	values = slices.Clone(values)
	slices.SortFunc(values, compare)
	values = slices.Compact(values)
	var out []string
	for _, v := range values {
		out = append(out, v.String())
	}
	return out
}
