// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package diff

import (
	"cmp"
	"io"
	"strings"

	"github.com/fairlead-proxy/fairlead/kubectl/internal/table"
)

// Print writes it for people.
func (r *Report) Print(to io.Writer) error {
	p := table.NewPrinter(to)
	for i := range r.Groups {
		g := &r.Groups[i]
		if i > 0 {
			p.Line("")
		}
		p.Line("Nodes:\t%s", strings.Join(g.Nodes, ", "))
		p.Line("ProxyConfig:\t%s", arrow(g.Before, g.After))
		p.Line("Mode:\t%s", arrow(string(g.Runs), string(g.Will)))
		for _, why := range g.Unsupported {
			p.Line("Unsupported:\t%s", why)
		}
		p.Break()
		if len(g.Changes) > 0 {
			p.Line("FIELD\tNOW\tTHEN")
		}
		for _, c := range g.Changes {
			p.Line("%s\t%s\t%s", c.Field, cmp.Or(c.Now, "-"), cmp.Or(c.Then, "-"))
		}
		p.Break()
	}
	if len(r.Unchanged) > 0 {
		if len(r.Groups) > 0 {
			p.Line("")
		}
		p.Line("No change:\t%s", strings.Join(r.Unchanged, ", "))
	}
	return p.End()
}

func arrow(before, after string) string {
	if before == after {
		return cmp.Or(before, "none")
	}
	return cmp.Or(before, "none") + " -> " + cmp.Or(after, "none")
}
