// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"net/netip"
	"slices"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// AllowsExternalIP says whether a policy allows an external IP. Only Allow allows any: an
// object without a policy denies all.
func AllowsExternalIP(o v1alpha1.ExternalIPOptions, a netip.Addr) bool {
	if o.Policy != v1alpha1.ExternalIPAllow {
		return false
	}
	return len(o.AllowedCIDRs) == 0 || slices.ContainsFunc(o.AllowedCIDRs, func(text string) bool {
		p, err := ParsePrefix(text)
		return err == nil && p.Contains(a)
	})
}
