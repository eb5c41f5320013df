// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
)

// held is our rules in the kernel, of one family.
type held struct {
	sums  map[chainID]sum
	jumps map[jump]int // how often each exists
}

func newHeld() *held { return &held{sums: map[chainID]sum{}, jumps: map[jump]int{}} }

// allTables stands for all tables that are in use.
const allTables = ""

// read reads our chains in one table or in all. Rules of others are read only to find our
// jumps.
func (h *held) read(ctx context.Context, k kernel, v6 bool, table string) error {
	return h.readWith(ctx, k, v6, table, func(string, string) {})
}

// readWith is read that also passes on the rules of our chains, by the chain's name.
func (h *held) readWith(ctx context.Context, k kernel, v6 bool, table string, rule func(chain, rule string)) error {
	r := reader{held: h, table: table, rule: rule}
	if err := k.save(ctx, v6, table, r.line); err != nil {
		return fmt.Errorf("read the rules: %w", err)
	}
	r.end()
	if r.incompatible != "" {
		return fmt.Errorf("%w: table %s: move the rules of other programs to a table of their own", errIncompatible, r.incompatible)
	}
	return nil
}

// errIncompatible is returned for a table of the nft variant with rules that iptables
// cannot print, such as rules added with nft. iptables-save then prints a comment instead
// of the table, and succeeds.
var errIncompatible = errors.New("iptables-save cannot print rules that were added with nft")

// leaveOutMangle removes that table from what is held.
func (h *held) leaveOutMangle() {
	maps.DeleteFunc(h.sums, func(id chainID, _ sum) bool { return id.table == tableMangle })
	maps.DeleteFunc(h.jumps, func(j jump, _ int) bool { return j.table == tableMangle })
}

// readBack reads our rules in the kernel, unless they are unchanged since the last time. It
// notes how many chains and jumps differ from what we programmed, and in the result how
// long reading took and whether it was interrupted. What was programmed is known: then only
// external changes are not found where nothing is read.
func (d *Dataplane) readBack(ctx context.Context, wasKnown bool, result *dataplane.Result) error {
	before, err := d.kernel.generation(ctx)
	if err != nil {
		return err
	}
	if wasKnown && d.gen.Is(before) {
		return nil
	}
	d.gen = nft.Generation{}
	reading := ctx
	if wasKnown {
		reading = dataplane.Reading(ctx)
	}
	began := time.Now()
	defer func() { result.Reading = time.Since(began) }()
	for _, f := range d.families {
		now := newHeld()
		err := now.read(reading, d.kernel, f.v6, allTables)
		switch {
		case errors.Is(err, errIncompatible) && wasKnown:
			d.unreadable = fmt.Errorf("external changes are not repaired: %s: %w", f, err)
			return nil
		case err != nil && dataplane.Interrupted(ctx, reading):
			result.Interrupted = true
			return nil
		case err != nil:
			return fmt.Errorf("%s: %w", f, err)
		}
		now.leaveOutMangle() // see localhost.go
		if d.ours {
			d.found += now.differences(f.held)
		}
		f.held = now
	}
	d.unreadable = nil
	after, err := d.kernel.generation(ctx)
	if err == nil && after == before { // else another program changed it since
		d.gen = before
	}
	return err
}

// differences returns the number of chains and jumps that differ.
func (h *held) differences(o *held) int {
	n := 0
	for id, s := range o.sums {
		if now, ok := h.sums[id]; !ok || now != s {
			n++
		}
	}
	for id := range h.sums {
		if _, ok := o.sums[id]; !ok {
			n++
		}
	}
	for _, j := range jumps {
		if h.jumps[j] != o.jumps[j] {
			n++
		}
	}
	return n
}

// reader reads what iptables-save prints.
type reader struct {
	*held
	table string
	chain []byte // the current one
	sum   sum
	rule  func(chain, rule string)

	incompatible string // a table that cannot be printed
}

func (r *reader) line(line []byte) {
	if rest, ok := bytes.CutPrefix(line, []byte("# Table `")); ok {
		table, state, _ := bytes.Cut(rest, []byte("' is "))
		if bytes.HasPrefix(state, []byte("incompatible")) && slices.Contains(tables, string(table)) {
			r.incompatible = string(table)
		}
		return
	}
	if table, ok := bytes.CutPrefix(line, []byte("*")); ok {
		r.end()
		r.table = string(table)
		return
	}
	ours := []byte(prefix)
	if rest, ok := bytes.CutPrefix(line, []byte(":")); ok {
		if bytes.HasPrefix(rest, ours) {
			name, _, _ := bytes.Cut(rest, []byte(" "))
			r.sums[chainID{r.table, string(name)}] = sum{}
		}
		return
	}
	rest, ok := bytes.CutPrefix(line, []byte("-A "))
	if !ok {
		return
	}
	if !bytes.HasPrefix(rest, ours) {
		if bytes.Contains(rest, ours) {
			r.builtIn(string(rest))
		}
		return
	}
	name, rule, _ := bytes.Cut(rest, []byte(" "))
	if !bytes.Equal(name, r.chain) {
		r.end()
		r.chain = append(r.chain[:0], name...)
		r.sum = r.sums[chainID{r.table, string(name)}]
	}
	text := canonical(rule)
	r.sum = r.sum.add(text)
	r.rule(string(name), text)
}

func (r *reader) end() {
	if len(r.chain) > 0 {
		r.sums[chainID{r.table, string(r.chain)}] = r.sum
	}
	r.chain = nil
}

func (r *reader) builtIn(rule string) {
	for _, j := range slices.Concat(jumps, guardJumps) {
		if j.table == r.table && j.rule() == rule {
			r.jumps[j]++
		}
	}
}

// canonical returns a rule with its addresses as we write them: some C libraries print the
// last 32 bits of an IPv6 address in dotted decimal if all others are 0.
func canonical(rule []byte) string {
	if !bytes.Contains(rule, []byte("::")) || !bytes.Contains(rule, []byte(".")) {
		return string(rule)
	}
	words := bytes.Split(rule, []byte(" "))
	for i, word := range words {
		address, mask, hasMask := bytes.Cut(word, []byte("/"))
		words[i] = canonicalAddress(address)
		if hasMask {
			words[i] = append(append(words[i], '/'), canonicalAddress(mask)...)
		}
	}
	return string(bytes.Join(words, []byte(" ")))
}

func canonicalAddress(text []byte) []byte {
	if a, err := netip.ParseAddr(string(text)); err == nil && a.Is6() {
		return []byte(a.String())
	}
	return append([]byte(nil), text...)
}
