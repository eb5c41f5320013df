// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package check

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	rules "github.com/fairlead-proxy/fairlead/rules/rollout"
)

func missing(served []string) []string {
	return slices.DeleteFunc(slices.Clone(resources), func(r string) bool { return slices.Contains(served, r) })
}

func notServed(f *Facts) []string { return missing(f.Served) }

func denied(f *Facts) []string {
	var out []string
	for _, r := range f.Denied {
		out = append(out, "you may not "+r.String())
	}
	return out
}

func noController(f *Facts) []string {
	var out []string
	for i := range f.Controllers {
		d := &f.Controllers[i]
		if d.Status.AvailableReplicas > 0 {
			return nil
		}
		out = append(out, fmt.Sprintf("the Deployment %s/%s has no available Pod", d.Namespace, d.Name))
	}
	if out == nil {
		out = []string{"there is no Deployment of the controller in the namespace " + f.Namespace}
	}
	return out
}

func notAccepted(f *Facts) []string {
	if len(f.Reported.Configs) == 0 {
		return []string{"there is no ProxyConfig"}
	}
	return conditions(f, v1alpha1.ConditionAccepted)
}

func unprotected(f *Facts) []string { return conditions(f, v1alpha1.ConditionProtected) }

// conditions returns the ProxyConfigs of which a condition is not True.
func conditions(f *Facts, kind string) []string {
	var out []string
	for i := range f.Reported.Configs {
		config := &f.Reported.Configs[i]
		switch c := meta.FindStatusCondition(config.Status.Conditions, kind); {
		case c == nil:
			out = append(out, fmt.Sprintf("%s: the controller has not set the condition %s", config.Name, kind))
		case c.Status != metav1.ConditionTrue:
			out = append(out, fmt.Sprintf("%s: %s: %s", config.Name, c.Reason, c.Message))
		}
	}
	return out
}

func unsupported(f *Facts) []string {
	var out []string
	for i := range f.Reported.Configs {
		config := &f.Reported.Configs[i]
		capabilities := map[string][]v1alpha1.ModeCapability{}
		for _, n := range f.Reported.Nodes {
			if n.Spec.Policy.Name == config.Name {
				capabilities[n.Name] = n.Status.Capabilities
			}
		}
		if problem := rules.Precheck(config.Spec, capabilities); problem != "" {
			out = append(out, config.Name+": "+problem)
		}
	}
	return out
}

func localTraffic(f *Facts) []string {
	var out []string
	for i := range f.Reported.Nodes {
		n := &f.Reported.Nodes[i]
		local, podCIDRs := n.Spec.LocalTraffic, n.Spec.Node.PodCIDRs
		if local.Detect == v1alpha1.DetectNodeCIDR && len(podCIDRs) == 0 {
			out = append(out, n.Name+": detect is NodeCIDR, and the Node has no podCIDR")
		}
		if local.Detect != v1alpha1.DetectClusterCIDR {
			continue
		}
		for _, podCIDR := range podCIDRs {
			if !slices.ContainsFunc(local.ClusterCIDRs, func(c string) bool { return contains(c, podCIDR) }) {
				out = append(out, fmt.Sprintf("%s: its podCIDR %s is in none of the clusterCIDRs (%s)", n.Name, podCIDR, strings.Join(local.ClusterCIDRs, ", ")))
			}
		}
	}
	return out
}

// contains says whether a range contains another one. What is no range contains nothing.
func contains(outer, inner string) bool {
	o, err1 := netip.ParsePrefix(outer)
	i, err2 := netip.ParsePrefix(inner)
	return err1 == nil && err2 == nil && o.Bits() <= i.Bits() && o.Contains(i.Addr())
}

// nodePorts knows the addresses in the Node's status. All and Localhost need none of them.
func nodePorts(f *Facts) []string {
	var out []string
	for i := range f.Reported.Nodes {
		n := &f.Reported.Nodes[i]
		from, addresses := n.Spec.NodePort.Addresses, n.Spec.Node.Addresses
		has := func(from string) bool {
			switch from {
			case v1alpha1.NodePortPrimary:
				return len(addresses) > 0
			case v1alpha1.NodePortAll, v1alpha1.NodePortLocalhost:
				return true
			}
			return slices.ContainsFunc(addresses, func(a string) bool {
				prefix, err1 := netip.ParsePrefix(from)
				address, err2 := netip.ParseAddr(a)
				return err1 == nil && err2 == nil && prefix.Contains(address)
			})
		}
		if !slices.ContainsFunc(from, has) {
			out = append(out, fmt.Sprintf("%s: none of its addresses (%s) is in %s", n.Name, strings.Join(addresses, ", "), strings.Join(from, ", ")))
		}
	}
	return out
}
