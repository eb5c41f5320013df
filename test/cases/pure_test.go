// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package cases_test

import (
	"testing"

	"github.com/fairlead-proxy/fairlead/test/cases"
	"github.com/fairlead-proxy/fairlead/test/cases/evaluate"
)

// TestPure runs the cases against the pure functions: what Compile and Resolve
// make of the objects, and what that does to a packet.
func TestPure(t *testing.T) {
	runAll(t, cases.Pure, func(t *testing.T, c cases.Case) string {
		cluster := cases.NewCluster()
		checked := 0
		for _, step := range c.AllSteps() {
			if err := cluster.Apply(step); err != nil {
				t.Fatal(err)
			}
			desired, err := cluster.Compile().Desired()
			if err != nil {
				t.Fatal(err)
			}
			for _, flow := range step.Flows {
				for _, packet := range flow.Packets() {
					checked++
					got := evaluate.Packet(desired, packet)
					if flow.Open != "" || flow.EverySeconds > 0 {
						// Once, or so seldom that affinity ends in between.
						got.Sticky = flow.Expect.Sticky
					}
					if err := flow.Expect.Check(packet, got); err != nil {
						t.Errorf("%s %v", step.Then, err)
					}
				}
			}
		}
		if checked == 0 {
			return "it has no new packets to follow"
		}
		return ""
	})
}
