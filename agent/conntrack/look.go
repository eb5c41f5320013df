// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/rules"
)

// maxFilters is the number of frontends up to which each is looked for by itself.
// The kernel walks through its whole table each time, but that is cheap against
// handing over entries that nobody has asked for.
const maxFilters = 8

// work is what has to be looked at.
type work struct {
	everything bool
	frontends  map[rules.FrontendKey]struct{}
}

func newWork() work { return work{frontends: map[rules.FrontendKey]struct{}{}} }

func (w *work) add(o work) {
	w.everything = w.everything || o.everything
	maps.Copy(w.frontends, o.frontends)
}

func (w *work) empty() bool { return !w.everything && len(w.frontends) == 0 }

// kind is what a dump can have in common.
type kind struct {
	family   corev1.IPFamily
	protocol rules.Protocol
}

func kindOf(key rules.FrontendKey) kind {
	if key.Address.Is4() {
		return kind{corev1.IPv4Protocol, key.Protocol}
	}
	return kind{corev1.IPv6Protocol, key.Protocol}
}

// filters are the dumps of one kind that find what keys are about.
func (k kind) filters(keys []rules.FrontendKey, everything bool) []Filter {
	whole := Filter{Family: k.family, Protocol: k.protocol, Unanswered: k.protocol == rules.TCP}
	if everything || len(keys) > maxFilters {
		return []Filter{whole}
	}
	var out []Filter
	for _, key := range keys {
		f := whole
		f.Port = key.Port
		if !key.IsNodePort() {
			f.Address = key.Address
		}
		out = append(out, f)
	}
	return out
}

// look looks at what is due, once.
func (c *Cleaner) look(ctx context.Context, w work) error {
	kinds := map[kind][]rules.FrontendKey{}
	for key := range w.frontends {
		kinds[kindOf(key)] = append(kinds[kindOf(key)], key)
	}
	if w.everything {
		for k := range c.kinds() {
			if _, known := kinds[k]; !known {
				kinds[k] = nil
			}
		}
	}
	if len(kinds) == 0 {
		return nil
	}
	addresses, err := c.nodePortAddresses()
	if err != nil {
		return err
	}
	order := slices.SortedFunc(maps.Keys(kinds), func(a, b kind) int {
		return cmp.Or(cmp.Compare(a.family, b.family), cmp.Compare(a.protocol, b.protocol))
	})
	for _, k := range order {
		start := c.clock.Now()
		for _, f := range k.filters(kinds[k], w.everything) {
			err = first(err, c.sweep(ctx, f, w, addresses))
		}
		c.metrics.duration.WithLabelValues(string(k.family)).Observe(c.clock.Since(start).Seconds())
	}
	return err
}

// first returns the first of two errors: they are likely to say the same, and one
// entry that cannot be deleted must not keep the others.
func first(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// sweep deletes what is stale among the entries that a filter selects.
func (c *Cleaner) sweep(ctx context.Context, f Filter, w work, addresses map[netip.Addr]struct{}) error {
	n := 0
	var failed error
	err := c.kernel.Dump(ctx, f, func(e Entry) {
		frontend, ours := c.find(e, w, addresses)
		if !ours || !stale(e, frontend) {
			return
		}
		deleted, err := c.kernel.Delete(e)
		failed = first(failed, err)
		if deleted {
			n++
		}
	})
	c.metrics.deleted.WithLabelValues(string(f.Family)).Add(float64(n))
	if n > 0 {
		c.log.V(1).Info("Forgot flows to endpoints that are gone", "family", f.Family, "protocol", f.Protocol.String(), "entries", n)
	}
	return first(err, failed)
}

// find returns the frontend that an entry's client sends to. One that was removed
// is ours as long as its removal is looked at, and nil.
func (c *Cleaner) find(e Entry, w work, addresses map[netip.Addr]struct{}) (f *rules.Frontend, ours bool) {
	key := rules.FrontendKey{Address: e.Destination.Addr(), Protocol: e.Protocol, Port: e.Destination.Port()}
	keys := [...]rules.FrontendKey{key, key}
	if _, local := addresses[key.Address]; local {
		keys[1] = nodePortKey(key)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range keys {
		if f := c.frontends[key]; f != nil {
			return f, true
		}
	}
	for _, key := range keys {
		if _, removed := w.frontends[key]; removed {
			return nil, true
		}
	}
	return nil, false
}

// kinds are the kinds of all frontends.
func (c *Cleaner) kinds() map[kind]struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := map[kind]struct{}{}
	for key := range c.frontends {
		found[kindOf(key)] = struct{}{}
	}
	return found
}

// nodePortAddresses are the addresses that node ports answer on. The port alone
// says nothing: the node may forward packets to the same port of others.
func (c *Cleaner) nodePortAddresses() (map[netip.Addr]struct{}, error) {
	c.mu.Lock()
	node := c.node
	c.mu.Unlock()
	out := map[netip.Addr]struct{}{}
	for _, a := range node.NodePortAddresses {
		out[a] = struct{}{}
	}
	if len(node.NodePortCIDRs) == 0 {
		return out, nil
	}
	local, err := c.kernel.Addresses()
	if err != nil {
		return nil, fmt.Errorf("node ports: %w", err)
	}
	for _, a := range local {
		if slices.ContainsFunc(node.NodePortCIDRs, func(p netip.Prefix) bool { return p.Contains(a) && !a.IsLoopback() }) {
			out[a] = struct{}{}
		}
	}
	return out, nil
}
