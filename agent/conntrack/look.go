// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"context"
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/rules/flows"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// kind is what a dump can have in common.
type kind struct {
	family   corev1.IPFamily
	protocol model.Protocol
}

func kindOf(key model.FrontendKey) kind {
	if key.Address.Is4() {
		return kind{corev1.IPv4Protocol, key.Protocol}
	}
	return kind{corev1.IPv6Protocol, key.Protocol}
}

// filters are the dumps of one kind that find what is to be looked at: one for all
// keys, and a second for flows that are older than a single one. The kernel walks
// through its whole table for each, which costs as much as to hand over some
// thousand entries that nothing is wrong with.
func (w *work) filters(k kind, keys []model.FrontendKey) []Filter {
	whole := Filter{Family: k.family, Protocol: k.protocol, Unanswered: flows.HalfOpen(k.protocol)}
	if w.everything || len(keys) == 0 {
		return []Filter{whole}
	}
	f := whole
	f.Address, f.Port = keys[0].Address, keys[0].Port
	older := false
	for _, key := range keys {
		if key.Address != f.Address {
			f.Address = netip.Addr{}
		}
		if key.Port != f.Port {
			f.Port = 0
		}
		older = older || w.frontends[key]
	}
	if f.Address.IsUnspecified() { // of node ports
		f.Address = netip.Addr{}
	}
	switch {
	case !older || len(keys) == 1 && keys[0].IsNodePort():
		return []Filter{f}
	case len(keys) > 1:
		return []Filter{whole}
	}
	reverse := f
	reverse.Reverse = true
	return []Filter{f, reverse}
}

// look looks at what is due of a protocol, once. It returns what to look at once more: frontends
// that had flows that were older. An answer to them that is under way while they
// are forgotten begins a flow anew, the other way round.
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
		start := c.clock.Now()
		for _, f := range w.filters(k, keys) {
			err = first(err, s.filtered(ctx, f))
		}
		c.metrics.duration.WithLabelValues(string(k.family)).Observe(c.clock.Since(start).Seconds())
	}
	return again, err
}

// first returns the first of two errors: they are likely to say the same, and one
// entry that cannot be deleted must not keep the others.
func first(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// sweep is a look that is under way.
type sweep struct {
	*Cleaner
	again work
	rules flows.Rules
}

// filtered deletes what is stale among the entries that a filter selects.
func (s *sweep) filtered(ctx context.Context, f Filter) error {
	n := 0
	var failed error
	err := s.kernel.Dump(ctx, f, func(e Entry) {
		key, stale := s.stale(e)
		if !stale {
			return
		}
		deleted, err := s.kernel.Delete(e)
		failed = first(failed, err)
		if deleted {
			n++
		}
		if !e.Translated() {
			s.again.frontends[key] = true
		}
	})
	s.metrics.deleted.WithLabelValues(string(f.Family)).Add(float64(n))
	if n > 0 {
		s.log.V(1).Info("Forgot flows to endpoints that are gone", "family", f.Family, "protocol", f.Protocol.String(), "entries", n)
	}
	return first(err, failed)
}

// stale says whether an entry must go, and which frontend it is about.
func (s *sweep) stale(e Entry) (model.FrontendKey, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rules.Stale(e.Flow)
}

// kinds are the kinds of all frontends of a protocol.
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

// nodePortAddresses are the addresses that node ports answer on.
func (c *Cleaner) nodePortAddresses() (map[netip.Addr]struct{}, error) {
	c.mu.Lock()
	node := c.node
	c.mu.Unlock()
	return node.NodePortsOn(c.kernel.Addresses)
}
