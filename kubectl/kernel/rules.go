// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/kubectl/internal/table"
	"github.com/fairlead-proxy/fairlead/rules/inspection"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// tools are the programs in whose syntax rules are printed, by mode.
var tools = map[v1alpha1.ProxyMode]string{v1alpha1.ModeNFTables: "nft", v1alpha1.ModeIPTables: "iptables", v1alpha1.ModeIPVS: "ipvsadm"}

// Tools are their names.
func Tools() []string { return []string{"nft", "iptables", "ipvsadm"} }

// PrintAs writes the rules in the syntax of a program. It must be that of the node's mode.
func PrintAs(to io.Writer, r *inspection.Report, tool string) error {
	if tools[r.Mode] != tool {
		err := fmt.Errorf("%s runs the mode %s, which has no rules of %s", r.Node, r.Mode, tool)
		if other := tools[r.Mode]; other != "" {
			err = fmt.Errorf("%w: use -o %s", err, other)
		}
		return err
	}
	seen := map[string]struct{}{}
	for _, f := range r.Frontends {
		for _, line := range f.Rules {
			if _, again := seen[line]; again { // frontends of a port share their endpoints
				continue
			}
			seen[line] = struct{}{}
			if _, err := fmt.Fprintln(to, line); err != nil {
				return fmt.Errorf("write: %w", err)
			}
		}
	}
	return nil
}

// PrintRules writes for people what is in a kernel: of a Service, or of all (empty).
func PrintRules(to io.Writer, r *inspection.Report, service string) error {
	p := table.NewPrinter(to)
	p.Line("Node:\t%s", r.Node)
	p.Line("Mode:\t%s", r.Mode)
	p.Line("Programmed:\tgeneration %d, rules %s", r.Generation, cmp.Or(r.RulesDigest, "-"))
	if r.Unsettled != "" {
		p.Line("Unsettled:\t%s", r.Unsettled)
	}
	p.Break()
	if len(r.Frontends) == 0 {
		of := "any Service"
		if service != "" {
			of = service
		}
		p.Line("\nThe kernel has nothing of %s, as is desired.", of)
	} else {
		p.Line("\nFRONTEND\tKIND\tSERVICE\tPRESENT\tEQUAL\tCLIENTS\tACTION\tENDPOINTS")
	}
	for i := range r.Frontends {
		frontend(p, &r.Frontends[i])
	}
	if len(r.Differences) > 0 {
		p.Break()
		p.Line("")
		differences(p, r.Differences)
	}
	return p.End()
}

func frontend(p *table.Printer, f *inspection.Frontend) {
	service := cmp.Or(f.Service, "-")
	if f.Port != "" {
		service += ":" + f.Port
	}
	start := fmt.Sprintf("%s\t%s\t%s\t%s\t%s", f.Address, cmp.Or(string(f.Kind), "-"), service, yes(f.Present), yes(f.Equal))
	clients := "all"
	if f.External != nil {
		clients = "internal"
	}
	p.Line("%s\t%s\t%s", start, clients, backend(f.Internal))
	if f.External != nil {
		p.Line("\t\t\t\t\texternal\t%s", backend(f.External))
	}
}

func backend(b *inspection.Backend) string {
	if b == nil || b.Verdict == "" {
		return "-\t-"
	}
	verdict := map[model.Verdict]string{model.Forward: "forward", model.Reject: "reject", model.Drop: "drop"}[b.Verdict]
	return cmp.Or(verdict, string(b.Verdict)) + "\t" + cmp.Or(strings.Join(b.Endpoints, ","), "-")
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// differences writes a table of them.
func differences(p *table.Printer, list []inspection.Difference) {
	p.Line("PROBLEM\tOBJECT\tSERVICE\tIN THE KERNEL\tDESIRED")
	for _, d := range list {
		services := strings.Join(d.Services[:min(len(d.Services), maxServices)], ",")
		if more := len(d.Services) - maxServices; more > 0 {
			services += fmt.Sprintf(" and %d more", more)
		}
		p.Line("%s\t%s\t%s\t%s\t%s", d.Problem, d.Object, cmp.Or(services, "-"), cmp.Or(d.Have, "-"), cmp.Or(d.Want, "-"))
	}
}

// maxServices is how many Services of a difference are named in the text.
const maxServices = 3
