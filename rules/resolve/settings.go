// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Settings returns the parameters of a node that belong to no frontend. The error names
// malformed entries and ServiceCIDRs that overlap addresses of the node; these are left
// out.
func Settings(spec v1alpha1.NodeRuleSetSpec) (model.NodeSettings, error) {
	var s model.NodeSettings
	var errs []error
	prefixes := func(field string, texts []string) (out []netip.Prefix) {
		for _, text := range texts {
			p, err := model.ParsePrefix(text)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", field, err))
				continue
			}
			out = append(out, p)
		}
		return out
	}
	nodePort := spec.NodePort.Addresses
	if len(nodePort) == 0 {
		nodePort = []string{v1alpha1.NodePortPrimary}
	}
	var cidrs []string
	for _, a := range nodePort {
		switch a {
		case v1alpha1.NodePortPrimary:
			s.NodePortAddresses = primaries(nodeAddresses(spec.Node.Addresses))
		case v1alpha1.NodePortAll:
			cidrs = append(cidrs, "0.0.0.0/0", "::/0")
		case v1alpha1.NodePortLocalhost:
			s.NodePortLocalhost = true
		default:
			cidrs = append(cidrs, a)
		}
	}
	s.NodePortCIDRs = prefixes("nodePort.addresses", cidrs)
	s.NodePortsRestricted = restrictsNodePorts(spec)
	s.NodePortSources = prefixes("nodePort.sourceRanges", spec.NodePort.SourceRanges)
	slices.SortFunc(s.NodePortSources, model.ComparePrefix)
	s.NodePortSources = slices.Compact(s.NodePortSources)
	switch spec.LocalTraffic.Detect {
	case v1alpha1.DetectClusterCIDR:
		s.PodCIDRs = prefixes("localTraffic.clusterCIDRs", spec.LocalTraffic.ClusterCIDRs)
	case v1alpha1.DetectBridgeInterface:
		s.PodInterface = spec.LocalTraffic.Interface
	case v1alpha1.DetectInterfaceNamePrefix:
		s.PodInterface, s.PodInterfacePrefix = spec.LocalTraffic.Interface, true
	default:
		s.PodCIDRs = prefixes("node.podCIDRs", spec.Node.PodCIDRs)
	}
	for _, p := range prefixes("serviceCIDRs", spec.ServiceCIDRs) {
		if err := checkServiceCIDR(p, spec.Node); err != nil {
			errs = append(errs, fmt.Errorf("serviceCIDRs: %w", err))
			continue
		}
		s.ServiceCIDRs = append(s.ServiceCIDRs, p)
	}
	return s, errors.Join(errs...)
}

// restrictsNodePorts says whether only some clients may use node ports. Malformed ranges
// count, so that they do not open node ports to everyone.
func restrictsNodePorts(spec v1alpha1.NodeRuleSetSpec) bool {
	return len(spec.NodePort.SourceRanges) > 0
}

// nodeAddresses parses a node's addresses; compile.Node wrote them.
func nodeAddresses(texts []string) []netip.Addr {
	var out []netip.Addr
	for _, text := range texts {
		if addr, err := model.ParseAddr(text); err == nil {
			out = append(out, addr)
		}
	}
	return out
}

// primaries returns the first address of each family.
func primaries(addrs []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, a := range addrs {
		if !slices.ContainsFunc(out, func(o netip.Addr) bool { return o.Is4() == a.Is4() }) {
			out = append(out, a)
		}
	}
	return out
}

// knowsPods says whether a node can recognize the traffic of its own Pods in a family, see
// NodeSettings.
func knowsPods(spec v1alpha1.NodeRuleSetSpec, family corev1.IPFamily) bool {
	cidrs := spec.Node.PodCIDRs
	switch spec.LocalTraffic.Detect {
	case v1alpha1.DetectBridgeInterface, v1alpha1.DetectInterfaceNamePrefix:
		return spec.LocalTraffic.Interface != ""
	case v1alpha1.DetectClusterCIDR:
		cidrs = spec.LocalTraffic.ClusterCIDRs
	}
	return slices.ContainsFunc(cidrs, func(text string) bool {
		p, err := model.ParsePrefix(text)
		return err == nil && model.FamilyOf(p.Addr()) == family
	})
}

// checkServiceCIDR rejects a range that also contains addresses of the node or its Pods:
// dropping the unallocated addresses in it would cut the node off.
func checkServiceCIDR(p netip.Prefix, node v1alpha1.NodeFacts) error {
	for _, a := range nodeAddresses(node.Addresses) {
		if p.Contains(a) {
			return fmt.Errorf("ServiceCIDR %s contains node IP %s; unallocated ClusterIPs in it are not dropped", p, a)
		}
	}
	for _, text := range node.PodCIDRs {
		if pods, err := model.ParsePrefix(text); err == nil && p.Overlaps(pods) {
			return fmt.Errorf("ServiceCIDR %s overlaps the node's Pod CIDR %s; unallocated ClusterIPs in it are not dropped", p, pods)
		}
	}
	return nil
}
