// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package connect

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/fairlead-proxy/fairlead/kubectl/internal/table"
)

// Kind is the kind of address of a Service.
type Kind string

// The kinds.
const (
	ClusterIP Kind = "ClusterIP"
	NodePort  Kind = "NodePort"
)

var kinds = []Kind{ClusterIP, NodePort}

// Report is which nodes reach which by Services.
type Report struct {
	Nodes []string `json:"nodes"`
	// Skipped are nodes without connections, and why.
	Skipped []Skipped `json:"skipped,omitempty"`
	Results []Result  `json:"results"`
}

// Skipped is a node that was left out.
type Skipped struct {
	Node   string `json:"node"`
	Reason string `json:"reason"`
	// Failed says that it should have taken part.
	Failed bool `json:"failed"`
}

// Result is a connection from a Pod of a node to a Pod of another.
type Result struct {
	From    string `json:"from"`
	To      string `json:"to"`
	Kind    Kind   `json:"kind"`
	Address string `json:"address"`
	// Error is why it failed.
	Error string `json:"error,omitempty"`
}

// Pass says whether all nodes reach all.
func (r *Report) Pass() bool {
	return len(r.Results) > 0 && !slices.ContainsFunc(r.Results, func(c Result) bool { return c.Error != "" }) &&
		!slices.ContainsFunc(r.Skipped, func(s Skipped) bool { return s.Failed })
}

// Print writes a table of nodes for each kind, and then what failed.
func (r *Report) Print(to io.Writer) error {
	p := table.NewPrinter(to)
	found := map[[2]string]map[Kind]string{}
	failed := 0
	for _, c := range r.Results {
		pair := [2]string{c.From, c.To}
		if found[pair] == nil {
			found[pair] = map[Kind]string{}
		}
		if found[pair][c.Kind] = "ok"; c.Error != "" {
			found[pair][c.Kind] = "FAILED"
			failed++
		}
	}
	for _, kind := range kinds {
		p.Line("%s, from\tto %s", kind, strings.Join(r.Nodes, "\t"))
		for _, from := range r.Nodes {
			line := []string{from}
			for _, node := range r.Nodes {
				line = append(line, found[[2]string{from, node}][kind])
			}
			p.Line("%s", strings.Join(line, "\t"))
		}
		p.Break()
		p.Line("")
	}
	for _, c := range r.Results {
		if c.Error != "" {
			p.Line("%s -> %s, %s %s: %s", c.From, c.To, c.Kind, c.Address, c.Error)
		}
	}
	for _, s := range r.Skipped {
		p.Line("%s: %s", s.Node, s.Reason)
	}
	p.Line("%s", summary(len(r.Results), failed))
	return p.End()
}

func summary(all, failed int) string {
	switch {
	case all == 0:
		return "No connection was tried."
	case failed > 0:
		return fmt.Sprintf("%d of %d connections failed.", failed, all)
	}
	return fmt.Sprintf("All %d connections came through.", all)
}
