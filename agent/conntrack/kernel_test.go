// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	kernel "github.com/fairlead-proxy/fairlead/agent/kernel/conntrack"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// memory is a kernel that a test pretends.
type memory struct {
	mu        sync.Mutex
	entries   []kernel.Entry
	addresses []netip.Addr
	coarse    bool // it cannot filter
	failing   error
	dumps     []kernel.Filter
	deleted   func(kernel.Entry) // what happens then
	walked    func()             // what happens at the end of a dump
	counted   int                // deleted entries, by the metrics
}

func (m *memory) kernel() Kernel {
	return Kernel{Table: m, Addresses: func() ([]netip.Addr, error) { return m.addresses, nil }}
}

// LookedForStaleFlows implements Metrics.
func (m *memory) LookedForStaleFlows(_ corev1.IPFamily, _ time.Duration, deleted int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counted += deleted
}

// wantCounted checks how many deleted entries the metrics count.
func (m *memory) wantCounted(t *testing.T, want int) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.counted != want {
		t.Errorf("the metrics count %d deleted entries, want %d", m.counted, want)
	}
}

var errBroken = errors.New("broken")

func (m *memory) Dump(_ context.Context, f kernel.Filter, each func(kernel.Entry)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dumps = append(m.dumps, f)
	if m.failing != nil {
		return m.failing
	}
	for _, e := range slices.Clone(m.entries) {
		if m.coarse || selects(f, e) {
			each(e)
		}
	}
	if m.walked != nil {
		m.walked()
	}
	return nil
}

func selects(f kernel.Filter, e kernel.Entry) bool {
	side := e.Destination
	if f.Reverse {
		side = e.Source
	}
	key := model.FrontendKey{Address: side.Addr(), Protocol: model.Protocol(e.Protocol)}
	return kindOf(key) == kind{f.V6, model.Protocol(f.Protocol)} &&
		(!f.Address.IsValid() || f.Address == side.Addr()) &&
		(f.Port == 0 || f.Port == side.Port()) &&
		(!f.Unanswered || e.Unanswered)
}

// Delete is called by Dump's each only, which holds mu.
func (m *memory) Delete(e kernel.Entry) (bool, error) {
	before := len(m.entries)
	m.entries = slices.DeleteFunc(m.entries, func(o kernel.Entry) bool { return string(o.Name.ID) == string(e.Name.ID) })
	gone := len(m.entries) < before
	if m.deleted != nil {
		m.deleted(e)
	}
	return gone, nil
}

// left names what is in the kernel.
func (m *memory) left() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	names := []string{}
	for _, e := range m.entries {
		names = append(names, string(e.Name.ID))
	}
	slices.Sort(names)
	return names
}

func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failing = err
}

func (m *memory) filters() []kernel.Filter {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.dumps)
}
