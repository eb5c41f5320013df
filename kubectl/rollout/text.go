// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// Print shows a rollout.
func Print(to io.Writer, r *v1alpha1.ProxyRollout) error {
	w := tabwriter.NewWriter(to, 0, 8, 3, ' ', 0)
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) } // Flush returns the error
	s := &r.Status
	line("Rollout:\t%s, of ProxyConfig %s", r.Name, s.Config)
	line("Phase:\t%s", phase(r))
	line("Before:\t%s", cmp.Or(s.FromRevision, "none"))
	for _, c := range s.Conditions {
		if c.Message != "" {
			line("%s:\t%s, %s: %s", c.Type, c.Status, c.Reason, c.Message)
		}
	}
	line("")
	line("STAGE\tNODES\tUPDATED\tVERIFIED\tFAILED")
	for _, stage := range s.Stages {
		line("%s\t%d\t%d\t%d\t%d\t%s", stage.Name, stage.Total, stage.Updated, stage.Verified, stage.Failed, Bar(stage))
	}
	flush := func() error {
		if err := w.Flush(); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		return nil
	}
	if err := flush(); err != nil {
		return err
	}
	list := func(title string, nodes []string) {
		if len(nodes) > 0 {
			line("%s\t%s", title, strings.Join(nodes, ", "))
		}
	}
	for _, n := range s.FailedNodes {
		line("Failed:\t%s, %s: %s", n.Name, n.Reason, n.Message)
	}
	list("Not ready:", s.SkippedNodes)
	list("Late to return:", s.LaggingNodes)
	return flush()
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
