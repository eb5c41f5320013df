// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"slices"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// equalSpecs says whether two slices have the same content. A list of all slices compares
// each endpoint, which takes thirty times as long by reflection. A test checks that every
// field counts.
func equalSpecs(a, b *v1alpha1.ServiceRuleSliceSpec) bool {
	return a.ServiceNamespace == b.ServiceNamespace && a.ServiceName == b.ServiceName && a.ServiceCreated.Equal(&b.ServiceCreated) &&
		a.AddressFamily == b.AddressFamily && a.Part == b.Part && a.Parts == b.Parts && a.ClusterIP == b.ClusterIP &&
		slices.Equal(a.ExternalIPs, b.ExternalIPs) && slices.Equal(a.LoadBalancerIPs, b.LoadBalancerIPs) &&
		equalSources(a.LoadBalancerSources, b.LoadBalancerSources) &&
		a.ExternalTrafficPolicy == b.ExternalTrafficPolicy && a.InternalTrafficPolicy == b.InternalTrafficPolicy &&
		a.AffinityTimeoutSeconds == b.AffinityTimeoutSeconds && a.HealthCheckNodePort == b.HealthCheckNodePort &&
		slices.Equal(a.Ports, b.Ports) && equalEndpoints(a.Endpoints, b.Endpoints) && a.Digest == b.Digest
}

// equalSources compares source ranges; nil allows everyone, an empty list denies everyone.
func equalSources(a, b *v1alpha1.SourceRanges) bool {
	if a == nil || b == nil {
		return a == b
	}
	return slices.Equal(a.Allowed, b.Allowed)
}

func equalEndpoints(a, b []v1alpha1.RuleEndpoint) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		e, o := &a[i], &b[i]
		if e.Address != o.Address || e.NodeName != o.NodeName || e.State != o.State || !slices.Equal(e.TargetPorts, o.TargetPorts) ||
			!slices.Equal(e.ForNodes, o.ForNodes) || !slices.Equal(e.ForZones, o.ForZones) {
			return false
		}
	}
	return true
}
