// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/go-logr/logr/testr"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// memory is a fake kernel that fails on demand.
type memory struct {
	chains map[bool]map[chainID][]string // by family
	number uint32                        // of tables changed
	sysctls

	failRestore, failSave, failTry func(v6 bool) error
}

func newMemory() *memory {
	never := func(bool) error { return nil }
	m := &memory{chains: map[bool]map[chainID][]string{}, failRestore: never, failSave: never, failTry: never}
	m.sysctls = sysctls{"net/ipv4/conf/all/route_localnet": "0"}
	for _, v6 := range []bool{false, true} {
		m.chains[v6] = map[chainID][]string{}
		for _, j := range slices.Concat(jumps, guardJumps) {
			m.chains[v6][chainID{j.table, j.from}] = nil
		}
	}
	return m
}

func (m *memory) try(_ context.Context, v6 bool, _ io.WriterTo) error { return m.failTry(v6) }

func (m *memory) generation(context.Context) (nft.Generation, error) {
	return nft.Generation{}, nil
}

func (m *memory) commits() bool { return false }

func (m *memory) save(ctx context.Context, v6 bool, table string, line func([]byte)) error {
	if err := errors.Join(m.failSave(v6), ctx.Err()); err != nil {
		return err
	}
	for _, t := range tables {
		if table != allTables && table != t {
			continue
		}
		line([]byte("*" + t))
		for id := range m.chains[v6] {
			if id.table == t {
				line([]byte(":" + id.name + " - [0:0]"))
			}
		}
		for id, rules := range m.chains[v6] {
			for _, r := range rules {
				if id.table == t {
					line([]byte("-A " + id.name + " " + r))
				}
			}
		}
	}
	return nil
}

func (m *memory) restore(_ context.Context, v6 bool, script io.WriterTo) error {
	if err := m.failRestore(v6); err != nil {
		return err
	}
	var input strings.Builder
	if _, err := script.WriteTo(&input); err != nil {
		return err
	}
	table, now := "", m.chains[v6]
	for line := range strings.Lines(input.String()) {
		command, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		name, rule, _ := strings.Cut(rest, " ")
		id := chainID{table, name}
		switch {
		case command[0] == '*':
			table, now = command[1:], maps.Clone(m.chains[v6])
		case command[0] == ':':
			now[chainID{table, command[1:]}] = nil
		case command == "-A":
			now[id] = append(slices.Clone(now[id]), rule)
		case command == "-I":
			now[id] = append([]string{rule}, now[id]...)
		case command == "-D":
			i := slices.Index(now[id], rule)
			if i < 0 {
				return fmt.Errorf("no rule %q", rule)
			}
			now[id] = slices.Delete(slices.Clone(now[id]), i, i+1)
		case command == "-X":
			delete(now, id)
		case command == "COMMIT":
			m.chains[v6] = now
			m.number++
		default:
			return fmt.Errorf("what is %q?", line)
		}
	}
	return nil
}

// sysctls are fake kernel parameters.
type sysctls map[string]string

func (s sysctls) Get(name string) (string, error) { return s[name], nil }

func (s sysctls) Set(name, value string) error {
	s[name] = value
	return nil
}

// inMemory returns a Dataplane for a fake kernel.
func inMemory(t *testing.T, m *memory) *Dataplane {
	d, err := New(Options{Log: testr.New(t), Sysctls: m.sysctls})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.use(t.Context(), m, "memory"); err != nil {
		t.Fatal(err)
	}
	return d
}

// step is a Sync (to a state) or an Apply (from one to another).
func step(d *Dataplane, from *model.Desired, to model.Desired) (dataplane.Result, error) {
	if from == nil {
		return d.Sync(context.Background(), to, nil)
	}
	return d.Apply(context.Background(), model.Diff(*from, to))
}
