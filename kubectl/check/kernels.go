// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package check

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/fairlead-proxy/fairlead/kubectl/kernel"
)

// Kernels is what was read on the nodes.
type Kernels struct {
	// Drift is where the rules differ from the desired ones.
	Drift kernel.Drift
	// Conntrack is how full connection tracking is, by node.
	Conntrack map[string]Conntrack
}

// Conntrack counts the entries of a node's connection tracking, or says why they are not known.
type Conntrack struct {
	Entries, Limit float64
	Err            error
}

// ParseConntrack reads the metrics of an agent.
func ParseConntrack(metrics io.Reader) (Conntrack, error) {
	var out Conntrack
	lines := bufio.NewScanner(metrics)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		field := map[string]*float64{"fairlead_agent_conntrack_entries": &out.Entries, "fairlead_agent_conntrack_limit": &out.Limit}[name]
		if field == nil {
			continue
		}
		var err error
		if *field, err = strconv.ParseFloat(value, 64); err != nil {
			return out, fmt.Errorf("read the metric %s: %w", name, err)
		}
	}
	if err := lines.Err(); err != nil {
		return out, fmt.Errorf("read the metrics: %w", err)
	}
	return out, nil
}

// notInspected leaves out the modes whose kernel state no agent can read.
func notInspected(f *Facts) []string {
	var out []string
	for _, n := range f.Kernels.Drift.Nodes {
		if n.State == kernel.Unknown && !strings.Contains(n.Message, "cannot be inspected in the mode") {
			out = append(out, n.Name+": "+n.Message)
		}
	}
	for node, c := range f.Kernels.Conntrack {
		if c.Err != nil {
			out = append(out, node+": metrics: "+c.Err.Error())
		}
	}
	return out
}

func drifts(f *Facts) []string {
	var out []string
	for _, n := range f.Kernels.Drift.Nodes {
		if n.State == kernel.Differs {
			out = append(out, fmt.Sprintf("%s: %d differences, the first: %s %s", n.Name, len(n.Differences), n.Differences[0].Problem, n.Differences[0].Object))
		}
	}
	return out
}

// fullPercent is how full connection tracking is when the alert FairleadConntrackNearlyFull counts it.
const fullPercent = 90

func conntrackFull(f *Facts) []string {
	var out []string
	for node, c := range f.Kernels.Conntrack {
		if c.Limit > 0 && c.Entries*100 > c.Limit*fullPercent {
			out = append(out, fmt.Sprintf("%s: %.0f of %.0f entries are in use", node, c.Entries, c.Limit))
		}
	}
	return out
}
