// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package trial

import (
	"testing"
	"time"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// TestNextWithChecks has the checks of a revision pass or not.
func TestNextWithChecks(t *testing.T) {
	const sec, noAnswer = time.Second, "check web: no answer"
	verified := []event{{spec: &first}, {outcome: good}}
	onTrial := append(verified[:2:2], event{spec: &second})
	again := with(second, func(s *v1alpha1.NodeRuleSetSpec) { s.AssignedTime = at(9) })
	byCheck := func(s *v1alpha1.NodeRuleSetSpec) { s.Checks = []v1alpha1.RolloutCheck{{Name: "web"}} }
	for name, tc := range map[string]struct {
		before, then []event
		phase        v1alpha1.RevisionPhase
		mode         v1alpha1.ProxyMode // that is to be programmed
		error        string
	}{
		"one fails":                           {onTrial, []event{{after: 59 * sec, outcome: failing}}, "Programmed", "IPVS", ""},
		"one fails until the deadline":        {onTrial, []event{{after: time.Minute, outcome: failing}}, "Reverted", "NFTables", noAnswer},
		"one has failed":                      {onTrial, []event{{outcome: failing}, {after: sec, outcome: good}}, "Verified", "IPVS", ""},
		"too often":                           {onTrial, []event{{after: sec, outcome: unfit}}, "Reverted", "NFTables", noAnswer},
		"too often, and it is given again":    {onTrial, []event{{outcome: unfit}, {spec: again, outcome: unfit}}, "Pending", "IPVS", ""},
		"too often, of the first":             {nil, []event{{spec: &second}, {outcome: unfit}}, "Failed", "IPVS", noAnswer},
		"too often, of the first, and passed": {nil, []event{{spec: &second}, {outcome: unfit}, {outcome: good}}, "Verified", "IPVS", ""},
		"others when verified":                {verified, []event{{spec: with(first, byCheck)}}, "Verified", "NFTables", ""},
		"others on trial":                     {onTrial, []event{{after: 59 * sec, spec: with(second, byCheck)}, {after: sec}}, "Reverted", "NFTables", "it is not programmed"},
		"others after a return":               {onTrial, []event{{after: sec, outcome: unfit}, {spec: with(second, byCheck)}}, "Reverted", "NFTables", noAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			s, spec, _ := run(t, append(tc.before[:len(tc.before):len(tc.before)], tc.then...)...)
			if rules, status := s.Rules(spec), s.Status(); s.Phase != tc.phase || rules.Mode != tc.mode || status.LastError != tc.error {
				t.Errorf("%+v, and %s is to be programmed; want %s, %s and the error %q", status, rules.Mode, tc.phase, tc.mode, tc.error)
			}
		})
	}
}
