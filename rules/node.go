// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// SelectConfig returns the policy of a node among all ProxyConfigs: of those
// that select it the one with the highest priority, then the oldest, then the
// first by name. losers are the others that select the node. The error names
// configs whose selector is invalid; they select nothing.
func SelectConfig(node *corev1.Node, configs []v1alpha1.ProxyConfig) (winner *v1alpha1.ProxyConfig, losers []*v1alpha1.ProxyConfig, err error) {
	var selecting []*v1alpha1.ProxyConfig
	var errs []error
	for i := range configs {
		selects, err := selectsNode(&configs[i], node)
		if err != nil {
			errs = append(errs, fmt.Errorf("ProxyConfig %s: spec.nodeSelector is invalid: %w", configs[i].Name, err))
		}
		if selects {
			selecting = append(selecting, &configs[i])
		}
	}
	slices.SortFunc(selecting, func(a, b *v1alpha1.ProxyConfig) int {
		return cmp.Or(
			cmp.Compare(priority(b), priority(a)),
			a.CreationTimestamp.Compare(b.CreationTimestamp.Time),
			cmp.Compare(a.Name, b.Name),
		)
	})
	if len(selecting) == 0 {
		return nil, nil, errors.Join(errs...)
	}
	return selecting[0], selecting[1:], errors.Join(errs...)
}

func priority(c *v1alpha1.ProxyConfig) int32 {
	if c.Spec.Priority == nil {
		return 0
	}
	return *c.Spec.Priority
}

func selectsNode(config *v1alpha1.ProxyConfig, node *corev1.Node) (bool, error) {
	selector, err := config.Spec.NodeSelector.Selector()
	if err != nil {
		return false, err
	}
	return selector.Matches(labels.Set(node.Labels)), nil
}

// NodeInput is what a NodeRuleSet is made of.
type NodeInput struct {
	Node   *corev1.Node
	Config *v1alpha1.ProxyConfig

	// ServiceCIDRs are all of the cluster, in any order.
	ServiceCIDRs []networkingv1.ServiceCIDR
}

// CompileNode makes the NodeRuleSet of a node under a policy.
func CompileNode(in NodeInput) (v1alpha1.NodeRuleSetSpec, []Problem) {
	problems := &problemList{}
	c := in.Config.Spec.DeepCopy()
	spec := v1alpha1.NodeRuleSetSpec{
		Policy:          v1alpha1.PolicyReference{Name: in.Config.Name, Generation: in.Config.Generation},
		Mode:            c.Mode,
		FallbackModes:   c.FallbackModes,
		IPVS:            c.IPVS,
		SessionAffinity: c.SessionAffinity,
		NodePort:        c.NodePort,
		Masquerade:      c.Masquerade,
		LocalTraffic:    c.LocalTraffic,
		Conntrack:       c.Conntrack,
		Node: v1alpha1.NodeFacts{
			Zone:      in.Node.Labels[corev1.LabelTopologyZone],
			Departing: IsDeparting(in.Node),
			Addresses: nodeIPs(in.Node, problems),
			PodCIDRs:  podCIDRs(in.Node, problems),
		},
		ServiceCIDRs: serviceCIDRs(in.ServiceCIDRs, problems),
	}
	return spec, problems.sorted()
}

// TaintToBeDeleted is what the cluster autoscaler puts on a node before it
// deletes it.
const TaintToBeDeleted = "ToBeDeletedByClusterAutoscaler"

// IsDeparting says whether a node is about to go, so that load balancers should
// send it no more traffic.
func IsDeparting(node *corev1.Node) bool {
	return node.DeletionTimestamp != nil ||
		slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Key == TaintToBeDeleted })
}

// nodeIPs returns the node's internal addresses and then its external ones,
// each in the order of the Node object.
func nodeIPs(node *corev1.Node, problems *problemList) []string {
	var out []string
	for _, kind := range []corev1.NodeAddressType{corev1.NodeInternalIP, corev1.NodeExternalIP} {
		for _, a := range node.Status.Addresses {
			if a.Type != kind {
				continue
			}
			addr, err := parseAddr(a.Address)
			if err != nil {
				problems.add("Node", "", node.Name, "address skipped: %v", err)
				continue
			}
			if !slices.Contains(out, addr.String()) {
				out = append(out, addr.String())
			}
		}
	}
	return out
}

func podCIDRs(node *corev1.Node, problems *problemList) []string {
	texts := node.Spec.PodCIDRs
	if len(texts) == 0 && node.Spec.PodCIDR != "" {
		texts = []string{node.Spec.PodCIDR}
	}
	var out []string
	for _, text := range texts {
		p, err := parsePrefix(text)
		if err != nil {
			problems.add("Node", "", node.Name, "Pod CIDR skipped: %v", err)
			continue
		}
		out = append(out, p.String())
	}
	return out
}

// Settings returns the parameters of a node that do not belong to a frontend.
// The error names malformed entries, and ranges that overlap what they must not;
// these are left out.
func Settings(spec v1alpha1.NodeRuleSetSpec) (NodeSettings, error) {
	var s NodeSettings
	var errs []error
	prefixes := func(field string, texts []string) (out []netip.Prefix) {
		for _, text := range texts {
			p, err := parsePrefix(text)
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
	s.IPVS = ipvsSettings(spec.IPVS, prefixes)
	return s, errors.Join(errs...)
}

// nodeAddresses parses a node's addresses; CompileNode wrote them.
func nodeAddresses(texts []string) []netip.Addr {
	var out []netip.Addr
	for _, text := range texts {
		if addr, err := parseAddr(text); err == nil {
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

// knowsPods says whether a node can tell the traffic of its own Pods in a
// family, see NodeSettings.
func knowsPods(spec v1alpha1.NodeRuleSetSpec, family corev1.IPFamily) bool {
	cidrs := spec.Node.PodCIDRs
	switch spec.LocalTraffic.Detect {
	case v1alpha1.DetectBridgeInterface, v1alpha1.DetectInterfaceNamePrefix:
		return spec.LocalTraffic.Interface != ""
	case v1alpha1.DetectClusterCIDR:
		cidrs = spec.LocalTraffic.ClusterCIDRs
	}
	return slices.ContainsFunc(cidrs, func(text string) bool {
		p, err := parsePrefix(text)
		return err == nil && FamilyOf(p.Addr()) == family
	})
}
