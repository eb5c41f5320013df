// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"cmp"
	"io"
	"strings"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/kubectl/internal/table"
)

// Print shows a rollout.
func Print(to io.Writer, r *v1alpha1.ProxyRollout) error {
	p := table.NewPrinter(to)
	s := &r.Status
	p.Line("Rollout:\t%s, of ProxyConfig %s", r.Name, s.Config)
	p.Line("Phase:\t%s", phase(r))
	p.Line("Before:\t%s", cmp.Or(s.FromRevision, "none"))
	for _, c := range s.Conditions {
		if c.Message != "" {
			p.Line("%s:\t%s, %s: %s", c.Type, c.Status, c.Reason, c.Message)
		}
	}
	p.Line("")
	p.Line("STAGE\tNODES\tUPDATED\tVERIFIED\tFAILED")
	for _, stage := range s.Stages { // later stages may have more of the nodes that an earlier one selects
		updated, verified := min(stage.Updated, stage.Total), min(stage.Verified, stage.Total)
		p.Line("%s\t%d\t%d\t%d\t%d\t%s", stage.Name, stage.Total, updated, verified, stage.Failed, Bar(stage))
	}
	p.Break()
	list := func(title string, nodes []string) {
		if len(nodes) > 0 {
			p.Line("%s\t%s", title, strings.Join(nodes, ", "))
		}
	}
	for _, n := range s.FailedNodes {
		p.Line("Failed:\t%s, %s: %s", n.Name, n.Reason, n.Message)
	}
	list("Not ready:", s.SkippedNodes)
	list("Late to return:", s.LaggingNodes)
	return p.End()
}

func phase(r *v1alpha1.ProxyRollout) string {
	text := string(cmp.Or(r.Status.Phase, v1alpha1.RolloutPending))
	if r.Status.Stage != "" {
		text += " (" + r.Status.Stage + ")"
	}
	if state := r.Spec.State; state != "" && state != v1alpha1.StateRun {
		text += ", state " + string(state)
	}
	return text
}

// Bar has twenty characters: # of nodes that have verified the revision, + of those that are to.
func Bar(s v1alpha1.RolloutStageStatus) string {
	const width = 20
	if s.Total <= 0 {
		return ""
	}
	part := func(n int32) int { return int(min(n, s.Total)) * width / int(s.Total) }
	verified, updated := part(s.Verified), max(part(s.Updated), part(s.Verified))
	return "[" + strings.Repeat("#", verified) + strings.Repeat("+", updated-verified) + strings.Repeat("-", width-updated) + "]"
}
