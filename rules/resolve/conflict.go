// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"slices"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Conflict is an address and port that two Services claim. The winner has it on
// every node, see Table.
type Conflict struct {
	Key                   model.FrontendKey
	Winner, Loser         model.ServiceID
	WinnerKind, LoserKind model.Kind
}

// Conflicts returns what two Services of one family both claim, given any part of
// each, ordered by key. What is malformed claims nothing.
func Conflicts(a, b model.ServiceID, specA, specB *v1alpha1.ServiceRuleSliceSpec) []Conflict {
	byKey := map[model.FrontendKey]*model.Frontend{}
	claims := func(id model.ServiceID, spec *v1alpha1.ServiceRuleSliceSpec) []model.Frontend {
		header := *spec
		header.Endpoints = nil
		resolved, _ := Service(Node{}, id, []*v1alpha1.ServiceRuleSliceSpec{&header})
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
