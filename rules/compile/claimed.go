// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"slices"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// ClaimedAddresses returns the addresses that a Service answers on, except the nodes' own.
// Only Services with an address in common can conflict: the apiserver gives each node port
// to one Service only.
func ClaimedAddresses(spec *v1alpha1.ServiceRuleSliceSpec) []string {
	out := slices.Concat([]string{spec.ClusterIP}, spec.LoadBalancerIPs, spec.ExternalIPs)
	slices.Sort(out)
	return slices.DeleteFunc(slices.Compact(out), func(a string) bool { return a == "" })
}
