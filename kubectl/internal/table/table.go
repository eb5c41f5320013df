// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package table writes the lines that the plugin shows to people.
package table

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Printer writes blocks of lines; the columns of each block are aligned.
type Printer struct {
	w   *tabwriter.Writer
	err error
}

// NewPrinter returns one that writes to a Writer.
func NewPrinter(to io.Writer) *Printer {
	return &Printer{w: tabwriter.NewWriter(to, 0, 8, 3, ' ', 0)}
}

// Line writes a line; tabs end its columns.
func (p *Printer) Line(format string, args ...any) { _, _ = fmt.Fprintf(p.w, format+"\n", args...) } // End returns the error

// Break ends a block: the columns of the next one have their own widths.
func (p *Printer) Break() {
	if err := p.w.Flush(); err != nil && p.err == nil {
		p.err = fmt.Errorf("write: %w", err)
	}
}

// End ends the last block, and returns the first error of all that was written.
func (p *Printer) End() error {
	p.Break()
	return p.err
}
