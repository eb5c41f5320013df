// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// Precheck says which nodes cannot run a policy, by what their agents have found out; empty:
// none. A mode that an agent has not looked at, and the mode Auto, are not a reason.
func Precheck(spec v1alpha1.ProxyConfigSpec, capabilities map[string][]v1alpha1.ModeCapability) string {
	var unfit []string
	why := ""
	for _, name := range slices.Sorted(maps.Keys(capabilities)) {
		if problem := unfitFor(spec, capabilities[name]); problem != "" {
			if unfit = append(unfit, name); why == "" {
				why = name + ": " + problem
			}
		}
	}
	if len(unfit) == 0 {
		return ""
	}
	return fmt.Sprintf("No mode of the policy fits %s; %s. Set fallbackModes, or another mode", FirstNames(unfit, 3), why)
}

// FirstNames lists the first names of many, as messages about nodes do.
func FirstNames(names []string, most int) string {
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// unfitFor returns why a node can run none of the modes of a policy; empty: it can run one.
func unfitFor(spec v1alpha1.ProxyConfigSpec, capabilities []v1alpha1.ModeCapability) string {
	why := ""
	for _, mode := range append([]v1alpha1.ProxyMode{spec.Mode}, spec.FallbackModes...) {
		i := slices.IndexFunc(capabilities, func(c v1alpha1.ModeCapability) bool { return c.Mode == mode })
		if mode == v1alpha1.ModeAuto || i < 0 {
			return ""
		}
		problem := Unsupported(spec, capabilities[i])
		if problem == "" {
			return ""
		}
		if why == "" {
			why = problem
		}
	}
	return why
}

// Unsupported returns why a node cannot run a mode; empty: it can.
func Unsupported(spec v1alpha1.ProxyConfigSpec, c v1alpha1.ModeCapability) string {
	switch {
	case !c.Supported:
		return strings.TrimSuffix(fmt.Sprintf("%s: %s", c.Mode, c.Message), ": ")
	case spec.IPVS != nil && len(c.Schedulers) > 0 && !slices.Contains(c.Schedulers, spec.IPVS.Scheduler):
		return fmt.Sprintf("%s: the kernel has no scheduler %s", c.Mode, spec.IPVS.Scheduler)
	}
	return ""
}
