// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Cluster knows the addresses of the cluster itself, which no Service can have as an
// external IP: it would take over the traffic to a node, an apiserver, a Pod or another
// Service. It also knows which policies deny external IPs. It is immutable.
type Cluster struct {
	addresses map[netip.Addr]string
	ranges    map[netip.Prefix]string
	policies  []policy // of external IPs, but for those that allow all
}

// policy is the policy of external IPs of a ProxyConfig.
type policy struct {
	name    string
	options v1alpha1.ExternalIPOptions
}

// NewCluster returns the Cluster of these objects. apiServers is the EndpointSlice
// default/kubernetes; nil: there is none.
func NewCluster(nodes []corev1.Node, sets []v1alpha1.NodeRuleSet, apiServers *discoveryv1.EndpointSlice) *Cluster {
	c := &Cluster{addresses: map[netip.Addr]string{}, ranges: map[netip.Prefix]string{}}
	address := func(text, what string) {
		if a, err := model.ParseAddr(text); err == nil {
			c.addresses[a] = what
		}
	}
	prefix := func(text, what string) {
		if p, err := model.ParsePrefix(text); err == nil {
			c.ranges[p] = what
		}
	}
	for i := range nodes {
		n := &nodes[i]
		for _, a := range n.Status.Addresses {
			address(a.Address, fmt.Sprintf("an address of node %s; use a node port or a load balancer", n.Name))
		}
		for _, p := range append(slices.Clone(n.Spec.PodCIDRs), n.Spec.PodCIDR) {
			prefix(p, fmt.Sprintf("in the Pod CIDR %s of node %s", p, n.Name))
		}
	}
	byName := map[string]v1alpha1.ExternalIPOptions{}
	for i := range sets {
		spec := &sets[i].Spec
		for _, p := range spec.ServiceCIDRs {
			prefix(p, "in the ServiceCIDR "+p)
		}
		if o := spec.ExternalIPs; o.Policy != v1alpha1.ExternalIPAllow || len(o.AllowedCIDRs) > 0 {
			byName[spec.Policy.Name] = o
		}
	}
	for name, o := range byName {
		c.policies = append(c.policies, policy{name, o})
	}
	slices.SortFunc(c.policies, func(a, b policy) int { return strings.Compare(a.name, b.name) })
	if apiServers != nil {
		for _, e := range apiServers.Endpoints {
			for _, a := range e.Addresses {
				address(a, "an address of the apiserver")
			}
		}
	}
	return c
}

// reserved says what an address is in the cluster; empty: it is outside.
func (c *Cluster) reserved(a netip.Addr) string {
	if c == nil {
		return ""
	}
	if what := c.addresses[a]; what != "" {
		return what
	}
	for p, what := range c.ranges {
		if p.Contains(a) {
			return what
		}
	}
	return ""
}

// denied names the ProxyConfigs whose policy denies an external IP.
func (c *Cluster) denied(a netip.Addr) (names []string) {
	if c == nil {
		return nil
	}
	for _, p := range c.policies {
		if !model.AllowsExternalIP(p.options, a) {
			names = append(names, p.name)
		}
	}
	return names
}
