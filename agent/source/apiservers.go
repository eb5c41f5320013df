// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"net"
	"net/netip"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// APIServers returns the endpoints of the Service default/kubernetes, as host:port, sorted.
// The apiservers maintain them themselves.
func (in *Store) APIServers() []string {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.apiServers()
}

func (in *Store) apiServers() []string {
	var out []string
	for _, family := range []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol} {
		id := model.ServiceID{Namespace: model.APIServerService.Namespace, Name: model.APIServerService.Name, Family: family}
		for _, part := range in.slices.partsOf(id) {
			out = append(out, serversOf(part)...)
		}
	}
	slices.Sort(out)
	return out
}

// ReachedAt sets the addresses by which the agent was configured to reach the apiserver, as
// host:port.
func (in *Store) ReachedAt(hosts []string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.given = hosts
}

// apiServerAddresses returns the addresses by which the agent reaches the apiserver now, or
// may do so, sorted. The caller holds mu.
func (in *Store) apiServerAddresses() (out []netip.Addr) {
	for _, hostPort := range slices.Concat(in.apiServers(), in.given) {
		if host, _, err := net.SplitHostPort(hostPort); err == nil {
			if a, err := netip.ParseAddr(host); err == nil { // else it is a name
				out = append(out, a.Unmap())
			}
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

func serversOf(part *v1alpha1.ServiceRuleSliceSpec) (out []string) {
	https := slices.IndexFunc(part.Ports, func(p v1alpha1.RulePort) bool { return p.Name == "https" })
	if https < 0 {
		return nil
	}
	for _, e := range part.Endpoints {
		ready := e.State == "" || e.State == v1alpha1.EndpointReady
		if ready && https < len(e.TargetPorts) && e.TargetPorts[https] != 0 {
			out = append(out, net.JoinHostPort(e.Address, strconv.Itoa(int(e.TargetPorts[https]))))
		}
	}
	return out
}
