// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nattable

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/internal/desiredtest"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

var (
	at        = desiredtest.At
	leadTo    = desiredtest.ForwardTo
	clusterIP = desiredtest.ClusterIP
	put       = desiredtest.Put
	restrict  = desiredtest.Restrict
	stick     = desiredtest.Stick
	several   = desiredtest.Several
	mixed     = desiredtest.Mixed
	keys      = desiredtest.Keys

	rejected = desiredtest.Rejected
	dropped  = desiredtest.Dropped
)

// testTables are tables that are changed in one step.
type testTables struct{ *Tables }

func (d testTables) Sync(ctx context.Context, desired model.Desired) (dataplane.Result, error) {
	if _, err := d.Plan(ctx, desired); err != nil {
		return dataplane.Result{}, err
	}
	return d.Commit(ctx)
}

func (d testTables) Apply(ctx context.Context, delta model.Delta) (dataplane.Result, error) {
	if err := d.PlanDelta(delta); err != nil {
		return dataplane.Result{}, err
	}
	return d.Commit(ctx)
}

func mustSync(t testing.TB, d testTables, desired model.Desired) dataplane.Result {
	t.Helper()
	result, err := d.Sync(t.Context(), desired)
	if err != nil {
		t.Fatal("Sync:", err)
	}
	result.Reading = 0 // never the same
	return result
}

func mustApply(t testing.TB, d testTables, delta model.Delta) dataplane.Result {
	t.Helper()
	result, err := d.Apply(t.Context(), delta)
	if err != nil {
		t.Fatal("Apply:", err)
	}
	return result
}

// generation counts the commits to the namespace's ruleset.
func (d testTables) generation(t testing.TB) uint32 {
	t.Helper()
	n, err := d.Client.Commits(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// dumpForTest lists the kernel's objects, without irrelevant parts such as numbers.
func (d testTables) dumpForTest(t testing.TB) []string {
	t.Helper()
	var out []string
	for _, table := range d.layouts {
		s, err := table.read(context.Background(), d.Client)
		if err != nil {
			t.Fatal(err)
		}
		if !s.exists || s.broken != "" || len(s.junk) > 0 {
			t.Fatalf("%s: exists %v, %s, junk %v", table, s.exists, s.broken, s.junk)
		}
		for name, have := range s.chains {
			out = append(out, fmt.Sprintf("%s chain %s %d rules", table, name, len(have)))
		}
		for key, h := range s.frontends {
			for v, view := range h.views {
				out = append(out, fmt.Sprintf("%s %s view %d: %v, port %v", table, key, v, view.verdict, view.port))
			}
			if h.restricted || h.sources != nil {
				out = append(out, fmt.Sprintf("%s %s restricted %v: %v", table, key, h.restricted, h.sources))
			}
		}
		for key, h := range s.lists {
			sorted := func(list []model.Endpoint) []model.Endpoint {
				return slices.SortedFunc(slices.Values(list), netip.AddrPort.Compare)
			}
			out = append(out, fmt.Sprintf("%s list %v: %v %v, %v, %v", table, key, h.spread, sorted(h.endpoints), sorted(h.choices), h.affine))
		}
		for set, addrs := range s.addrs {
			for a := range addrs {
				out = append(out, set.String()+" "+a.String())
			}
		}
	}
	slices.SortFunc(out, cmp.Compare[string])
	return out
}
