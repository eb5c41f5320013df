// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// labelServiceProxyName on a Service, with any value, says that another proxy implements
// it.
const labelServiceProxyName = "service.kubernetes.io/service-proxy-name"

// IsProxied says whether a Service has virtual addresses that Fairlead serves. A headless
// Service and an ExternalName have none. The label
// service.kubernetes.io/service-proxy-name hands a Service to another proxy.
func IsProxied(svc *corev1.Service) bool {
	if _, other := svc.Labels[labelServiceProxyName]; other {
		return false
	}
	return svc.Spec.Type != corev1.ServiceTypeExternalName &&
		svc.Spec.ClusterIP != "" && svc.Spec.ClusterIP != corev1.ClusterIPNone
}

// Wanted is what must not be removed of a Service, whatever its slices say. The zero value
// says that all may be: the Service does not exist or is not proxied.
type Wanted struct {
	Families  map[corev1.IPFamily]bool // with a cluster IP
	Endpoints map[string]bool          // canonical addresses of ready endpoints
}

// WantedOf returns what must not be removed of a Service. It is no compilation: it is what
// tells apart a Service that has lost its endpoints, and slices that have. Ready endpoints
// count if they serve a port of the Service.
func WantedOf(svc *corev1.Service, endpoints []discoveryv1.EndpointSlice) Wanted {
	if !IsProxied(svc) {
		return Wanted{}
	}
	out := Wanted{Families: map[corev1.IPFamily]bool{}, Endpoints: map[string]bool{}}
	for _, text := range append(slices.Clone(svc.Spec.ClusterIPs), svc.Spec.ClusterIP) {
		if a, err := ParseAddr(text); err == nil {
			out.Families[FamilyOf(a)] = true
		}
	}
	for i := range endpoints {
		if !servesPortOf(svc, endpoints[i].Ports) {
			continue
		}
		for _, e := range endpoints[i].Endpoints {
			if ready := e.Conditions.Ready; ready != nil && !*ready {
				continue
			}
			for _, text := range e.Addresses {
				if a, err := ParseAddr(text); err == nil {
					out.Endpoints[a.String()] = true
				}
			}
		}
	}
	return out
}

func servesPortOf(svc *corev1.Service, ports []discoveryv1.EndpointPort) bool {
	return slices.ContainsFunc(ports, func(p discoveryv1.EndpointPort) bool {
		return p.Port != nil && slices.ContainsFunc(svc.Spec.Ports, func(sp corev1.ServicePort) bool {
			return p.Name == nil && sp.Name == "" || p.Name != nil && *p.Name == sp.Name
		})
	})
}
