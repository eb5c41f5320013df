// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"errors"
	"testing"

	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

func TestGuard(t *testing.T) {
	list := func(n int) map[string]*v1alpha1.ServiceRuleSliceSpec {
		return agenttest.Listed(&v1alpha1.ServiceRuleSliceSpec{ServiceName: "web", Endpoints: make([]v1alpha1.RuleEndpoint, n)})
	}
	cases := map[string]struct {
		known, listed, quorum int
		quorumErr             error
		wantErr               bool
	}{
		"first list":                     {0, 0, 0, nil, false},
		"small clusters are believed":    {99, 0, 99, nil, false},
		"a third remains":                {300, 100, 300, nil, false},
		"an empty list from a bad cache": {300, 0, 300, nil, true},
		"most are really gone":           {300, 5, 5, nil, false},
		"it cannot be confirmed":         {300, 5, 0, errors.New("no apiserver"), true},
		"the list grows":                 {300, 900, 0, nil, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := massRemoval{known: func() int { return tc.known }, quorum: func(context.Context) (int, error) { return tc.quorum, tc.quorumErr }}
			if err := g.check(t.Context(), list(tc.listed)); (err != nil) != tc.wantErr {
				t.Errorf("got %v, want error: %v", err, tc.wantErr)
			}
		})
	}
}
