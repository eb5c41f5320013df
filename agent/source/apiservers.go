// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"net"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// APIServers returns the endpoints of the Service default/kubernetes, as host:port, sorted.
// The apiservers maintain them themselves.
func (in *Store) APIServers() []string {
	in.mu.Lock()
	defer in.mu.Unlock()
	var out []string
	for _, family := range []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol} {
		id := model.ServiceID{Namespace: metav1.NamespaceDefault, Name: "kubernetes", Family: family}
		for _, part := range in.slices.partsOf(id) {
			out = append(out, serversOf(part)...)
		}
	}
	slices.Sort(out)
	return out
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
