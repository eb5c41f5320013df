// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/kubectl/internal/table"
	"github.com/fairlead-proxy/fairlead/rules/inspection"
)

// Drift is where kernels differ from what is desired.
type Drift struct {
	Nodes []NodeDrift `json:"nodes"`
}

// State says whether a node's kernel is as desired.
type State string

// The states.
const (
	// Equal: the kernel has exactly what is desired.
	Equal State = "Equal"
	// Differs: it does not, and its agent will repair that.
	Differs State = "Differs"
	// NoMode: nothing of Fairlead is desired there, as far as the agent reports.
	NoMode State = "NoMode"
	// Unknown: it could not be inspected.
	Unknown State = "Unknown"
)

// NodeDrift is a node of a Drift.
type NodeDrift struct {
	Name  string             `json:"name"`
	Mode  v1alpha1.ProxyMode `json:"mode,omitempty"`
	State State              `json:"state"`
	// Message is why the state is Unknown, or that the agent has more to program.
	Message     string                  `json:"message,omitempty"`
	Differences []inspection.Difference `json:"differences,omitempty"`
}

// Has says whether a node is in a state.
func (d *Drift) Has(s State) bool {
	return slices.ContainsFunc(d.Nodes, func(n NodeDrift) bool { return n.State == s })
}

// FindDrift inspects nodes; names: only these. The error is about a name.
func FindDrift(ctx context.Context, api client.Reader, agents *Agents, names []string) (Drift, error) {
	var list v1alpha1.NodeRuleSetList
	if err := api.List(ctx, &list); err != nil {
		return Drift{}, fmt.Errorf("list NodeRuleSets: %w", err)
	}
	for _, name := range names {
		if !slices.ContainsFunc(list.Items, func(n v1alpha1.NodeRuleSet) bool { return n.Name == name }) {
			return Drift{}, fmt.Errorf("no ProxyConfig selects a node %s", name)
		}
	}
	out := Drift{Nodes: []NodeDrift{}}
	for _, n := range list.Items {
		if len(names) == 0 || slices.Contains(names, n.Name) {
			out.Nodes = append(out.Nodes, NodeDrift{Name: n.Name, Mode: n.Status.Mode})
		}
	}
	var ask []string
	for i := range out.Nodes {
		if n := &out.Nodes[i]; n.Mode != "" {
			ask = append(ask, n.Name)
		}
	}
	answers := agents.InspectAll(ctx, ask, inspection.Filter{OnlyDifferences: true})
	for i := range out.Nodes {
		out.Nodes[i].judge(answers)
	}
	slices.SortFunc(out.Nodes, func(a, b NodeDrift) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

func (n *NodeDrift) judge(answers map[string]Answer) {
	report, err := answers[n.Name].Report, answers[n.Name].Err
	switch {
	case n.Mode == "":
		n.State = NoMode
		return
	case err != nil:
		n.State, n.Message = Unknown, err.Error()
		return
	case len(report.Differences) > 0:
		n.State = Differs
	default:
		n.State = Equal
	}
	n.Mode, n.Message, n.Differences = report.Mode, report.Unsettled, report.Differences
}

// Print writes it for people.
func (d *Drift) Print(to io.Writer) error {
	p := table.NewPrinter(to)
	if len(d.Nodes) == 0 {
		p.Line("No ProxyConfig selects a node.")
		return p.End()
	}
	p.Line("NODE\tMODE\tSTATE\tDIFFERENCES\tMESSAGE")
	for i := range d.Nodes {
		n := &d.Nodes[i]
		count := "-"
		if n.State == Equal || n.State == Differs {
			count = fmt.Sprint(len(n.Differences))
		}
		p.Line("%s\t%s\t%s\t%s\t%s", n.Name, cmp.Or(string(n.Mode), "-"), n.State, count, cmp.Or(n.Message, "-"))
	}
	for i := range d.Nodes {
		if n := &d.Nodes[i]; len(n.Differences) > 0 {
			p.Break()
			p.Line("\n%s", n.Name)
			differences(p, n.Differences)
		}
	}
	return p.End()
}
