// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// memory is a kernel that a test pretends.
type memory struct {
	mu        sync.Mutex
	entries   []Entry
	addresses []netip.Addr
	coarse    bool // it cannot filter
	failing   error
	dumps     []Filter
	deleted   func(Entry) // what happens then
	walked    func()      // what happens at the end of a dump
}

var errBroken = errors.New("broken")

func (m *memory) Dump(_ context.Context, f Filter, each func(Entry)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dumps = append(m.dumps, f)
	if m.failing != nil {
		return m.failing
	}
	for _, e := range slices.Clone(m.entries) {
		if m.coarse || f.selects(e) {
			each(e)
		}
	}
	if m.walked != nil {
		m.walked()
	}
	return nil
}

func (f Filter) selects(e Entry) bool {
	side := e.Destination
	if f.Reverse {
		side = e.Source
	}
	key := model.FrontendKey{Address: side.Addr(), Protocol: e.Protocol}
	return kindOf(key) == kind{f.Family, f.Protocol} &&
		(!f.Address.IsValid() || f.Address == side.Addr()) &&
		(f.Port == 0 || f.Port == side.Port()) &&
		(!f.Unanswered || e.Unanswered)
}

// Delete is called by Dump's each only, which holds mu.
func (m *memory) Delete(e Entry) (bool, error) {
	before := len(m.entries)
	m.entries = slices.DeleteFunc(m.entries, func(o Entry) bool { return string(o.name.id) == string(e.name.id) })
	gone := len(m.entries) < before
	if m.deleted != nil {
		m.deleted(e)
	}
	return gone, nil
}

func (m *memory) Addresses() ([]netip.Addr, error) { return m.addresses, nil }

// left names what is in the kernel.
func (m *memory) left() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	names := []string{}
	for _, e := range m.entries {
		names = append(names, string(e.name.id))
	}
	slices.Sort(names)
	return names
}

func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failing = err
}

func (m *memory) filters() []Filter {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.dumps)
}
