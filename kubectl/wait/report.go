// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package wait finds out when every node has the newest rules of a Service.
//
// A node reports one digest, that of all ServiceRuleSlices which its rules are from. So the slices
// are followed, and the digests of all states since the Service's are the wanted ones are kept:
// a node that reports one of these has them.
package wait

import (
	"io"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/kubectl/internal/table"
	"github.com/fairlead-proxy/fairlead/kubectl/status"
)

// Report says which nodes have the newest rules of a Service.
type Report struct {
	Service string `json:"service"`

	// Compiled says whether the controller has written the rules. Before it has, no node can
	// have them.
	Compiled bool `json:"compiled"`

	// Nodes is the number of nodes that should have them, and Behind are those of which it is
	// not known that they do.
	Nodes  int    `json:"nodes"`
	Behind []Node `json:"behind"`
}

// Node is a node that does not report the newest rules.
type Node struct {
	Name    string `json:"name"`
	State   string `json:"state"`
	Message string `json:"message,omitempty"`
}

// StateOlderRules is the state of a node that is well, and reports other rules.
const StateOlderRules = "OlderRules"

// Of returns the report of a Service.
func Of(f *Follower, nodes []status.Node) Report {
	compiled := f.Reached()
	r := Report{Service: f.service.String(), Compiled: compiled, Behind: []Node{}}
	for i := range nodes {
		n := &nodes[i]
		if n.State == v1alpha1.ReasonCleanedUp || n.State == v1alpha1.ReasonGivenBack {
			continue // it has no rules, by its policy
		}
		r.Nodes++
		switch {
		case compiled && n.State != status.NotReporting && f.Has(n.Digest):
		case n.Well:
			r.Behind = append(r.Behind, Node{Name: n.Name, State: StateOlderRules, Message: "it reports changed rules at most once a minute"})
		default:
			r.Behind = append(r.Behind, Node{Name: n.Name, State: n.State, Message: n.Message})
		}
	}
	return r
}

// Done says whether every node has the rules.
func (r *Report) Done() bool { return r.Compiled && len(r.Behind) == 0 && r.Nodes > 0 }

// Print writes the report for people.
func (r *Report) Print(to io.Writer) error {
	p := table.NewPrinter(to)
	switch {
	case !r.Compiled:
		p.Line("Service %s: the controller has not written the newest rules.", r.Service)
	case r.Nodes == 0:
		p.Line("Service %s: no node has a policy.", r.Service)
	default:
		p.Line("Service %s: %d of %d nodes have the newest rules.", r.Service, r.Nodes-len(r.Behind), r.Nodes)
		p.Break()
		for i, n := range r.Behind {
			if i == 0 {
				p.Line("\nNODE\tSTATE\tMESSAGE")
			}
			p.Line("%s\t%s\t%s", n.Name, n.State, n.Message)
		}
	}
	return p.End()
}
