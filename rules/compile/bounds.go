// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// Bounds of a Service in each address family. What exceeds them is left out and reported
// as a problem. No Service may cost every node minutes of work. No Service may be so large
// that the apiserver refuses its slices, because then its endpoints would not be followed
// either. The cluster IP and the node ports keep all ports. The choice is stable:
// addresses in order, those of load balancers before external IPs.
const (
	// maxPorts is more than a Service in etcd can have: each port takes about 150 bytes
	// there, of at most 1.5 MiB.
	maxPorts = 10_000

	// maxExposed bounds (load balancer IPs + external IPs) x ports: the frontends where
	// one more entry in the Service adds many. A frontend is an element or two in nftables, a
	// rule in iptables and a socket in Userspace; these modes program maxExposed of them
	// within a second. IPVS has the endpoints at each frontend, and bounds them itself. The
	// bound is enough for the addresses of 256 nodes as external IPs of four ports, and for
	// 1,000 ports at a load balancer.
	maxExposed = 1024

	// maxSources bounds the source ranges. maxRestricted bounds (load balancer IPs x ports
	// x source ranges): in nftables each combination is an element, which takes 10 to 15
	// µs.
	maxSources    = 1000
	maxRestricted = 1 << 16
)

// applyBounds cuts what exceeds the bounds. At least one address is kept.
func applyBounds(svc *corev1.Service, spec *v1alpha1.ServiceRuleSliceSpec, problems *problemList) {
	cut := func(list []string, keep int, what, advice string) []string {
		if len(list) <= keep {
			return list
		}
		problems.add("Service", svc.Namespace, svc.Name, "%d of %d %s %s skipped: %s",
			len(list)-keep, len(list), spec.AddressFamily, what, advice)
		return list[:keep:keep]
	}
	if extra := len(spec.Ports) - maxPorts; extra > 0 {
		problems.add("Service", svc.Namespace, svc.Name, "%d ports skipped: a Service has at most %d; use several Services", extra, maxPorts)
		spec.Ports = spec.Ports[:maxPorts:maxPorts]
	}
	addresses := maxExposed / max(1, len(spec.Ports))
	balancers := addresses
	if sources := spec.LoadBalancerSources; sources != nil {
		const tooMany = "at most 1000 count, and clients in the others are dropped; write wider ranges"
		sources.Allowed = cut(sources.Allowed, maxSources, "entries of spec.loadBalancerSourceRanges", tooMany)
		balancers = min(balancers, maxRestricted/max(1, len(spec.Ports)*len(sources.Allowed)))
	}
	const advice = "addresses x ports (x source ranges) are more than nodes program for one Service; " +
		"use fewer addresses, ports or ranges, or several Services"
	spec.LoadBalancerIPs = cut(spec.LoadBalancerIPs, max(1, balancers), "addresses of status.loadBalancer.ingress", advice)
	rest := max(0, addresses-len(spec.LoadBalancerIPs))
	if len(spec.LoadBalancerIPs) == 0 {
		rest = max(1, rest)
	}
	spec.ExternalIPs = cut(spec.ExternalIPs, rest, "addresses of spec.externalIPs", advice)
}
