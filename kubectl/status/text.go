// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package status

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/kubectl/internal/table"
	"github.com/fairlead-proxy/fairlead/kubectl/rollout"
)

// Print writes a report for people; wide adds columns.
func (r *Report) Print(to io.Writer, wide bool) error {
	p := printer{table.NewPrinter(to)}
	if len(r.Policies) == 0 {
		p.Line("There is no ProxyConfig: Fairlead programs no node.")
	}
	for i := range r.Policies {
		p.policy(&r.Policies[i])
	}
	if len(r.Nodes) > 0 {
		p.nodes(r.Nodes, wide)
	}
	p.remarks("PROBLEM", problems(r.Nodes))
	p.remarks("LIMITATION", limitations(r.Nodes))
	return p.End()
}

// printer writes a report.
type printer struct{ *table.Printer }

func (p *printer) policy(c *Policy) {
	p.Break()
	text := fmt.Sprintf("ProxyConfig %s  %s, %d/%d nodes programmed", c.Name, cmp.Or(string(c.Mode), "no mode"), c.Nodes.Programmed, c.Nodes.Selected)
	if c.Nodes.Failing > 0 {
		text += fmt.Sprintf(", %d failing", c.Nodes.Failing)
	}
	if c.Nodes.NotReady > 0 {
		text += fmt.Sprintf(", %d not reporting", c.Nodes.NotReady)
	}
	p.Line("%s, revision %s", text, cmp.Or(c.Revision, "none"))
	var branches []string
	if c.Behind {
		branches = append(branches, "the controller has not seen the latest change yet")
	}
	if c.Stable != "" && c.Stable != c.Revision {
		branches = append(branches, "stable revision: "+c.Stable)
	}
	branches = append(branches, c.Problems...)
	for i, branch := range branches {
		p.Line("%s %s", fork(i == len(branches)-1 && c.Rollout == nil), branch)
	}
	if c.Rollout != nil {
		p.rollout(c.Rollout)
	}
}

func fork(last bool) string {
	if last {
		return "└─"
	}
	return "├─"
}

func (p *printer) rollout(r *Rollout) {
	text := string(cmp.Or(r.Phase, v1alpha1.RolloutPending))
	if r.Stage != "" {
		text += " (" + r.Stage + ")"
	}
	if r.State != "" && r.State != v1alpha1.StateRun {
		text += ", state " + string(r.State)
	}
	p.Line("└─ rollout %s  %s", r.Name, text)
	for i, s := range r.Stages {
		counts := fmt.Sprintf("%d/%d verified", min(s.Verified, s.Total), s.Total) // later stages may have more of its nodes
		if more := s.Updated - s.Verified - s.Failed; more > 0 {
			counts += fmt.Sprintf(", %d on the way", more)
		}
		if s.Failed > 0 {
			counts += fmt.Sprintf(", %d failed", s.Failed)
		}
		p.Line("   %s %s\t%s\t%s", fork(i == len(r.Stages)-1 && len(r.Failed) == 0), s.Name, rollout.Bar(s), counts)
	}
	p.Break()
	for i, n := range r.Failed {
		p.Line("   %s failed: %s, %s: %s", fork(i == len(r.Failed)-1), n.Name, n.Reason, n.Message)
	}
}

func (p *printer) nodes(nodes []Node, wide bool) {
	p.Break()
	head := "\nNODE\tCONFIG\tMODE\tSTATE\tPHASE\tGENERATION\tSEEN\tSERVICES\tENDPOINTS\tLIMITATIONS"
	if wide {
		head += "\tREVISION\tDIGEST\tSUPPORTED"
	}
	p.Line("%s", head)
	for i := range nodes {
		n := &nodes[i]
		services, endpoints := "-", "-"
		if n.Counts != nil {
			services, endpoints = strconv.Itoa(int(n.Counts.Services)), strconv.Itoa(int(n.Counts.Endpoints))
		}
		cells := []string{n.Name, n.Policy, string(n.Mode), n.State, string(n.Phase), n.generation(), n.seen(), services, endpoints,
			strconv.Itoa(len(n.Limitations))}
		if wide {
			cells = append(cells, n.Revision, n.Digest, join(n.Supported))
		}
		for i := range cells {
			cells[i] = cmp.Or(cells[i], "-")
		}
		p.Line("%s", strings.Join(cells, "\t"))
	}
}

// generation is the one that is programmed; of two the other one is to be.
func (n *Node) generation() string {
	text := strconv.FormatInt(n.Programmed, 10)
	if n.Programmed != n.Generation {
		text += " of " + strconv.FormatInt(n.Generation, 10)
	}
	return text
}

func (n *Node) seen() string {
	if n.SeenSeconds == nil {
		return "never"
	}
	return duration.HumanDuration(time.Duration(*n.SeenSeconds) * time.Second)
}

func join(modes []v1alpha1.ProxyMode) string {
	var names []string
	for _, m := range modes {
		names = append(names, string(m))
	}
	return strings.Join(names, ",")
}

// remark is what is said of nodes.
type remark struct {
	reason, message string
	nodes           []string
}

func note(remarks []remark, node, reason, message string) []remark {
	i := slices.IndexFunc(remarks, func(r remark) bool { return r.reason == reason && r.message == message })
	if i < 0 {
		return append(remarks, remark{reason, message, []string{node}})
	}
	remarks[i].nodes = append(remarks[i].nodes, node)
	return remarks
}

func problems(nodes []Node) (out []remark) {
	for _, n := range nodes {
		if !n.Well {
			out = note(out, n.Name, n.State, n.Message)
		}
	}
	return out
}

func limitations(nodes []Node) (out []remark) {
	for _, n := range nodes {
		for _, l := range n.Limitations {
			out = note(out, n.Name, l.Reason, l.Message)
		}
	}
	return out
}

// remarks are a block; long lists of nodes are cut.
func (p *printer) remarks(title string, remarks []remark) {
	const most = 5
	p.Break()
	if len(remarks) == 0 {
		return
	}
	p.Line("\n%s\tNODES\tMESSAGE", title)
	for _, r := range remarks {
		nodes := strings.Join(r.nodes[:min(most, len(r.nodes))], ",")
		if more := len(r.nodes) - most; more > 0 {
			nodes += fmt.Sprintf(" and %d more", more)
		}
		p.Line("%s\t%s\t%s", r.reason, nodes, cmp.Or(r.message, "-"))
	}
}
