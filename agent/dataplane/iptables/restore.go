// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"bufio"
	"cmp"
	"io"
	"maps"
	"slices"
)

// script is the input of iptables-restore --noflush. A chain that it declares is added, or
// flushed, and then filled; other chains stay as they are.
type script struct {
	chains map[string]map[string]func() []string // their rules, by table and name
	gone   map[string][]string                   // chains to delete, by table
	lines  map[string][]string                   // of built-in chains, by table
	ops    int                                   // rules and chains
}

func newScript() *script {
	return &script{chains: map[string]map[string]func() []string{}, gone: map[string][]string{}, lines: map[string][]string{}}
}

// write replaces the rules of a chain by n rules, which are rendered when the script is
// written: as text the rules of 10,000 Services are 20 MB.
func (s *script) write(id chainID, n int, rules func() []string) {
	if s.chains[id.table] == nil {
		s.chains[id.table] = map[string]func() []string{}
	}
	s.chains[id.table][id.name] = rules
	s.ops += 1 + n
}

// remove deletes a chain, which no other chain may refer to after the script.
func (s *script) remove(id chainID) {
	s.gone[id.table] = append(s.gone[id.table], id.name)
	s.ops++
}

// insert puts a jump before the rules of a built-in chain.
func (s *script) insert(j jump) {
	s.lines[j.table] = append(s.lines[j.table], "-I "+j.rule())
	s.ops++
}

// delete deletes a jump.
func (s *script) delete(j jump) {
	s.lines[j.table] = append(s.lines[j.table], "-D "+j.rule())
	s.ops++
}

// fixJumps makes each jump exist once.
func (s *script) fixJumps(jumps []jump, have *held) {
	for _, j := range jumps {
		if have.jumps[j] == 0 {
			s.insert(j)
		}
		for range have.jumps[j] - 1 {
			s.delete(j)
		}
	}
}

// commits is how many tables the script changes.
func (s *script) commits() int {
	n := 0
	for _, table := range tables {
		if !s.spares(table) {
			n++
		}
	}
	return n
}

func (s *script) spares(table string) bool {
	return len(s.chains[table])+len(s.gone[table])+len(s.lines[table]) == 0
}

// WriteTo writes the input. Chains have to be declared before a rule refers to them. They
// are in descending order: iptables-nft keeps the chains of its input in a sorted list
// that it searches from the front, so that each is inserted at the front.
func (s *script) WriteTo(to io.Writer) (int64, error) {
	w := &counter{Writer: bufio.NewWriter(to)}
	for _, table := range tables {
		if !s.spares(table) {
			w.line("*", table)
			s.writeTable(w, table)
			w.line("COMMIT")
		}
	}
	return w.n, w.Flush()
}

func (s *script) writeTable(w *counter, table string) {
	chains, gone := s.chains[table], s.gone[table]
	names := slices.AppendSeq(slices.Clone(gone), maps.Keys(chains))
	slices.SortFunc(names, func(x, y string) int { return cmp.Compare(y, x) })
	for _, name := range names {
		w.line(":", name, " - [0:0]")
	}
	for _, name := range names {
		if chains[name] == nil {
			continue // it is deleted
		}
		for _, rule := range chains[name]() {
			w.line("-A ", name, " ", rule)
		}
	}
	for _, line := range s.lines[table] {
		w.line(line)
	}
	for _, name := range gone {
		w.line("-X ", name)
	}
}

// counter counts what is written. Flush returns the first error.
type counter struct {
	*bufio.Writer
	n int64
}

func (c *counter) line(words ...string) {
	for _, word := range append(words, "\n") {
		n, _ := c.WriteString(word)
		c.n += int64(n)
	}
}

// all returns all chains that exist or are wanted.
func (f *family) all() change {
	out := change{}
	for id := range f.want.sums {
		out[id] = struct{}{}
	}
	for id := range f.held.sums {
		out[id] = struct{}{}
	}
	return out
}

// plan returns a script that gives the kernel the wanted rules of some chains, and the
// jumps.
func (f *family) plan(changed change) *script {
	s := newScript()
	for id := range changed {
		want, wanted := f.want.sums[id]
		have, exists := f.held.sums[id]
		switch {
		case wanted && (!exists || have != want):
			s.write(id, want.rules, func() []string { return f.want.rules(id) })
		case !wanted && exists:
			s.remove(id)
		}
	}
	s.fixJumps(jumps, f.held)
	return s
}

// done notes that the kernel holds the planned chains.
func (f *family) done(changed change) {
	for id := range changed {
		if want, wanted := f.want.sums[id]; wanted {
			f.held.sums[id] = want
		} else {
			delete(f.held.sums, id)
		}
	}
	for _, j := range jumps {
		f.held.jumps[j] = 1
	}
}
