// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"net/netip"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// maxServiceCIDRs is how many ranges a NodeRuleSet can hold.
const maxServiceCIDRs = 64

// serviceCIDRs returns the ranges of all ServiceCIDRs, without those that lie in
// others. One that is being deleted counts: its addresses are in use until it is
// gone (KEP-1880).
func serviceCIDRs(objects []networkingv1.ServiceCIDR, problems *problemList) []string {
	var all []netip.Prefix
	for _, object := range objects {
		for _, text := range object.Spec.CIDRs {
			p, err := parsePrefix(text)
			if err != nil {
				problems.add("ServiceCIDR", "", object.Name, "range skipped: %v", err)
				continue
			}
			all = append(all, p)
		}
	}
	slices.SortFunc(all, comparePrefix) // a range comes before those that lie in it
	var kept []netip.Prefix
	for _, p := range all {
		if len(kept) == 0 || !kept[len(kept)-1].Overlaps(p) {
			kept = append(kept, p)
		}
	}
	if len(kept) > maxServiceCIDRs {
		problems.add("ServiceCIDR", "", "", "%d ranges skipped: there are more than %d", len(kept)-maxServiceCIDRs, maxServiceCIDRs)
		kept = kept[:maxServiceCIDRs]
	}
	return sortedStrings(kept, comparePrefix)
}

// checkServiceCIDR refuses a range that cannot be one of Services only: to drop
// what nobody in it answers to would cut the node off.
func checkServiceCIDR(p netip.Prefix, node v1alpha1.NodeFacts) error {
	for _, a := range nodeAddresses(node.Addresses) {
		if p.Contains(a) {
			return fmt.Errorf("%s is not guarded, for it holds the node's address %s", p, a)
		}
	}
	for _, text := range node.PodCIDRs {
		if pods, err := parsePrefix(text); err == nil && p.Overlaps(pods) {
			return fmt.Errorf("%s is not guarded, for it overlaps the node's Pod CIDR %s", p, pods)
		}
	}
	return nil
}
