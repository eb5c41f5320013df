// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/fairlead-proxy/fairlead/kubectl/internal/table"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Print writes a report for people.
func (r *Report) Print(to io.Writer) error {
	p := printer{table.NewPrinter(to)}
	p.Line("Service:\t%s", r.Service)
	p.Line("Client:\t%s", r.Client)
	for _, note := range r.Notes {
		p.Line("Note:\t%s", note)
	}
	for i := range r.Nodes {
		p.nodes(&r.Nodes[i])
	}
	return p.End()
}

// printer writes a report.
type printer struct{ *table.Printer }

// String says whose connections they are.
func (c Client) String() string {
	text := map[ClientKind]string{ClientPod: "Pods", ClientNode: "processes of a node", ClientExternal: "from outside the cluster"}[c.Kind]
	switch {
	case c.Name != "":
		text = string(c.Kind) + " " + c.Name
	case c.Address != "":
		text = c.Address + ", from outside the cluster"
	}
	switch {
	case c.Kind == ClientPod && c.Name != "":
		text += " (" + c.Address + ") on node " + c.Node
	case c.Kind == ClientNode && c.Name != c.Node:
		text = "Pod " + c.Name + " in the network of node " + c.Node
	}
	return text
}

func (p *printer) nodes(n *Nodes) {
	p.Break()
	title := "Node:"
	if len(n.Names) > 1 {
		title = "Nodes:"
	}
	p.Line("\n%s\t%s", title, strings.Join(n.Names, ", "))
	p.Line("Mode:\t%s, of ProxyConfig %s", cmp.Or(string(n.Mode), "none yet"), n.Policy)
	for _, problem := range n.Problems {
		p.Line("Problem:\t%s", problem)
	}
	if n.Unread != "" {
		p.Line("Kernel:\tnot read: %s", n.Unread)
	}
	for i := range n.Frontends {
		p.frontend(&n.Frontends[i], n.Balancing)
	}
}

func (p *printer) frontend(f *Frontend, balancing string) {
	p.Break()
	p.Line("\n%s %s  %s", f.Kind, f.Address, f.summary(balancing))
	if len(f.Endpoints) == 0 {
		return
	}
	p.Line("  ENDPOINT\tNODE\tPOD\tSHARE\tREASON")
	for _, e := range f.Endpoints {
		p.Line("  %s\t%s\t%s\t%s\t%s", e.Address, cmp.Or(e.Node, "-"), cmp.Or(e.Pod, "-"), e.share(), cmp.Or(string(e.Unused), "-"))
	}
}

func (e Endpoint) share() string {
	if e.Share == 0 {
		return "-"
	}
	return strconv.FormatFloat(e.Share, 'f', 1, 64) + "%"
}

// summary says what becomes of connections, in a line.
func (f *Frontend) summary(balancing string) string {
	var parts []string
	switch f.Verdict {
	case model.Forward:
		parts = append(parts, "forwarded ("+balancing+")")
	case model.Reject:
		parts = append(parts, "rejected: "+f.Reason)
	case model.Drop:
		parts = append(parts, "dropped: "+f.Reason)
	default:
		parts = append(parts, "not programmed: "+f.Reason)
	}
	if f.Masquerade {
		parts = append(parts, "the endpoint sees the node's address")
	}
	if f.AffinitySeconds > 0 && f.Verdict == model.Forward {
		parts = append(parts, fmt.Sprintf("a client keeps its endpoint for %d s", f.AffinitySeconds))
	}
	if f.Restricted {
		parts = append(parts, "only from "+cmp.Or(strings.Join(f.Sources, ", "), "nowhere"))
	}
	if f.Kernel != nil {
		parts = append(parts, f.Kernel.String())
	}
	return strings.Join(parts, "; ")
}

// String says it in the summary of a frontend.
func (k Kernel) String() string {
	switch {
	case !k.Present:
		return "not in the kernel"
	case !k.Equal:
		return "in the kernel, but not as programmed"
	}
	return "in the kernel as programmed"
}
