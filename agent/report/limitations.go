// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// Bounds of status.limitations, as the API has them: a status that the apiserver refuses
// would say nothing at all.
const (
	maxLimitations       = 16
	maxLimitationReason  = 64
	maxLimitationMessage = 512
	maxLimitedServices   = 10
	maxServiceName       = 128 // of namespace/name
)

// limitations returns what the status says of limitations: one of each reason, the
// names of Services sorted, all of it bounded.
func limitations(all []dataplane.Limitation) []v1alpha1.Limitation {
	byReason := map[string]*v1alpha1.Limitation{}
	for _, l := range all {
		reason := cmp.Or(string(l.Reason), "Unsupported")
		if len(reason) > maxLimitationReason {
			reason = reason[:maxLimitationReason]
		}
		out := byReason[reason]
		if out == nil {
			out = &v1alpha1.Limitation{Reason: reason, Message: Truncate(OneLine(cmp.Or(l.Message, reason)), maxLimitationMessage)}
			byReason[reason] = out
		}
		out.Frontends = int32(min(int64(out.Frontends)+int64(l.Count), math.MaxInt32))
		for _, s := range l.Services {
			if name := s.Namespace + "/" + s.Name; len(name) <= maxServiceName {
				out.Services = append(out.Services, name)
			}
		}
	}
	var list []v1alpha1.Limitation
	for _, l := range byReason {
		slices.Sort(l.Services)
		l.Services = slices.Compact(l.Services) // the same in both families
		l.Services = l.Services[:min(len(l.Services), maxLimitedServices):min(len(l.Services), maxLimitedServices)]
		list = append(list, *l)
	}
	slices.SortFunc(list, func(a, b v1alpha1.Limitation) int { return cmp.Compare(a.Reason, b.Reason) })
	return list[:min(len(list), maxLimitations)]
}

// summary says in one line what is not supported, without what changes with Services.
func summary(all []dataplane.Limitation) string {
	var messages []string
	for _, l := range limitations(all) {
		messages = append(messages, l.Message)
	}
	return strings.Join(messages, "; ")
}
