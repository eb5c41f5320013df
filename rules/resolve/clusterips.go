// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// ClusterIPs returns where a Service answers the node on a TCP port: its cluster IP in each
// address family that it has. The error says what to do if one of them does not answer.
func (t *Table) ClusterIPs(namespace, name string, port uint16) ([]netip.AddrPort, error) {
	if t.names[serviceName{namespace, name}] == 0 {
		return nil, fmt.Errorf("there is no such Service with a cluster IP: create it, or change the check")
	}
	var out []netip.AddrPort
	for _, family := range []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol} {
		claim := t.services[model.ServiceID{Namespace: namespace, Name: name, Family: family}]
		if claim == nil {
			continue
		}
		for _, f := range claim.frontends {
			if f.Kind != model.KindClusterIP || f.Key.Protocol != model.TCP || f.Key.Port != port {
				continue
			}
			if t.byKey[f.Key][0] != f {
				return nil, fmt.Errorf("%s is an address of the Service %s, too: change one of them", f.Key, t.byKey[f.Key][0].Service)
			}
			if f.Internal.Verdict != model.Forward {
				return nil, fmt.Errorf("%s has no endpoint that this node may use: let one be ready, or remove the check", f.Key)
			}
			out = append(out, netip.AddrPortFrom(f.Key.Address, port))
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("it has no TCP port %d: change the check", port)
	}
	return out, nil
}
