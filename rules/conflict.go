// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"slices"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// Conflict is an address and port that two Services claim. The winner has it on
// every node, see Table.
type Conflict struct {
	Key                   FrontendKey
	Winner, Loser         ServiceID
	WinnerKind, LoserKind Kind
}

// ClaimedAddresses returns the addresses that a Service answers on, besides the
// nodes' own. Only Services with an address in common can be in conflict: node
// ports are given to one Service each by the apiserver.
func ClaimedAddresses(spec *v1alpha1.ServiceRuleSliceSpec) []string {
	out := slices.Concat([]string{spec.ClusterIP}, spec.LoadBalancerIPs, spec.ExternalIPs)
	slices.Sort(out)
	return slices.DeleteFunc(slices.Compact(out), func(a string) bool { return a == "" })
}

// Conflicts returns what two Services of one family both claim, given any part of
// each, ordered by key. What is malformed claims nothing.
func Conflicts(a, b ServiceID, specA, specB *v1alpha1.ServiceRuleSliceSpec) []Conflict {
	byKey := map[FrontendKey]*Frontend{}
	claims := func(id ServiceID, spec *v1alpha1.ServiceRuleSliceSpec) []Frontend {
		header := *spec
		header.Endpoints = nil
		resolved, _ := Resolve(Node{}, id, []*v1alpha1.ServiceRuleSliceSpec{&header})
		return resolved.Frontends
	}
	ours := claims(a, specA)
	for i := range ours {
		byKey[ours[i].Key] = &ours[i]
	}
	var out []Conflict
	theirs := claims(b, specB)
	for i := range theirs {
		winner, loser := byKey[theirs[i].Key], &theirs[i]
		if winner == nil {
			continue
		}
		if precedence(loser, winner) < 0 {
			winner, loser = loser, winner
		}
		out = append(out, Conflict{Key: loser.Key, Winner: winner.Service, Loser: loser.Service,
			WinnerKind: winner.Kind, LoserKind: loser.Kind})
	}
	slices.SortFunc(out, func(x, y Conflict) int { return x.Key.Compare(y.Key) })
	return out
}
