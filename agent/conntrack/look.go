// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"context"
	"net/netip"

	kernel "github.com/fairlead-proxy/fairlead/agent/kernel/conntrack"
	"github.com/fairlead-proxy/fairlead/rules/flows"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// With a dump for each frontend the kernel walks its whole table each time; one dump
// for all frontends also returns entries that are not stale. A walk of an empty table
// takes as long as returning walkEntries entries (9 ms), a walk of a full table longer:
// maxFilters of them take as long as returning all entries.
const (
	walkEntries = 5000
	maxFilters  = 8
)

// filters returns the dumps of one kind that cover the work. all is the number of
// entries of the kind.
func (w *work) filters(k kind, keys []model.FrontendKey, all int) []kernel.Filter {
	whole := kernel.Filter{V6: k.v6, Protocol: uint8(k.protocol), Unanswered: flows.HalfOpen(k.protocol)}
	var out []kernel.Filter
	for _, key := range keys {
		f := whole
		f.Port = key.Port
		if !key.IsNodePort() {
			f.Address = key.Address
		}
		out = append(out, f)
		if w.frontends[key] && !key.IsNodePort() {
			f.Reverse = true
			out = append(out, f)
		}
	}
	if w.everything || len(keys) > 1 && (len(out) > maxFilters || (len(out)-1)*walkEntries > all) {
		return []kernel.Filter{whole}
	}
	return out
}

// look makes one pass over the entries of a protocol. It returns what to check again:
// frontends with flows that were older than the frontend. A reply that is in flight
// while such an entry is deleted creates a new one in the reverse direction.
func (c *Cleaner) look(ctx context.Context, p model.Protocol, w work) (again work, err error) {
	kinds := map[kind][]model.FrontendKey{}
	for key := range w.frontends {
		kinds[kindOf(key)] = append(kinds[kindOf(key)], key)
	}
	if w.everything {
		for k := range c.kinds(p) {
			if _, known := kinds[k]; !known {
				kinds[k] = nil
			}
		}
	}
	again = newWork()
	if len(kinds) == 0 {
		return again, nil
	}
	nodePorts, err := c.nodePortAddresses()
	if err != nil {
		return again, err
	}
	s := &sweep{Cleaner: c, again: again, rules: flows.Rules{
		Frontend:          func(k model.FrontendKey) *model.Frontend { return c.frontends[k] },
		Removed:           func(k model.FrontendKey) bool { _, due := w.frontends[k]; return due },
		NodePortAddresses: nodePorts,
	}}
	for k, keys := range kinds {
		start, deleted := c.clock.Now(), 0
		for _, f := range w.filters(k, keys, c.entries[k]) {
			n, failed := s.filtered(ctx, k, f)
			deleted, err = deleted+n, first(err, failed)
		}
		c.metrics.LookedForStaleFlows(k.family(), c.clock.Since(start), deleted)
	}
	return again, err
}

// first returns the first of two errors: both usually have the same cause, and an entry
// that cannot be deleted must not keep the pass from deleting others.
func first(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// sweep is a pass in progress.
type sweep struct {
	*Cleaner
	again work
	rules flows.Rules
}

// filtered deletes what is stale among the entries of a kind that a filter selects, and
// returns how many.
func (s *sweep) filtered(ctx context.Context, k kind, f kernel.Filter) (n int, err error) {
	all := 0
	var failed error
	err = s.kernel.Table.Dump(ctx, f, func(e kernel.Entry) {
		all++
		flow := flowOf(e)
		key, stale := s.stale(flow)
		if !stale {
			return
		}
		deleted, err := s.kernel.Table.Delete(e)
		failed = first(failed, err)
		if deleted {
			n++
		}
		if !flow.Translated() {
			s.again.frontends[key] = true
		}
	})
	if f.Port == 0 {
		s.entries[k] = all
	}
	if n > 0 {
		s.log.V(1).Info("Deleted stale conntrack entries", "family", k.family(), "protocol", k.protocol.String(), "entries", n)
	}
	return n, first(err, failed)
}

// stale says whether a flow must be deleted, and which frontend it belongs to.
func (s *sweep) stale(f flows.Flow) (model.FrontendKey, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rules.Stale(f)
}

// kinds returns the kinds of all frontends of a protocol.
func (c *Cleaner) kinds(p model.Protocol) map[kind]struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := map[kind]struct{}{}
	for key := range c.frontends {
		if key.Protocol == p {
			found[kindOf(key)] = struct{}{}
		}
	}
	return found
}

// nodePortAddresses returns the addresses of node ports.
func (c *Cleaner) nodePortAddresses() (map[netip.Addr]struct{}, error) {
	c.mu.Lock()
	node := c.node
	c.mu.Unlock()
	return node.NodePortsOn(c.kernel.Addresses)
}
