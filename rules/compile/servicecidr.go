// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"net/netip"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// maxServiceCIDRs is the number of ranges that a NodeRuleSet can hold.
const maxServiceCIDRs = 64

// serviceCIDRs returns the ranges of all ServiceCIDRs, without those that lie in others. A
// ServiceCIDR that is being deleted counts: its addresses are in use until it is gone
// (KEP-1880).
func serviceCIDRs(objects []networkingv1.ServiceCIDR, problems *problemList) []string {
	var all []netip.Prefix
	for _, object := range objects {
		for _, text := range object.Spec.CIDRs {
			p, err := model.ParsePrefix(text)
			if err != nil {
				problems.add("ServiceCIDR", "", object.Name, "range skipped: %v", err)
				continue
			}
			all = append(all, p)
		}
	}
	slices.SortFunc(all, model.ComparePrefix) // a range comes before those that lie in it
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
	return sortedStrings(kept, model.ComparePrefix)
}
