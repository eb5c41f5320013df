// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package resolve_test

import (
	"maps"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	. "github.com/fairlead-proxy/fairlead/rules/internal/rulestest"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

func TestResolveProperties(t *testing.T) {
	EverySeed(t, 500, func(t *testing.T, r *Random) {
		node, id := r.Node(), r.ID()
		whole := Specs(compile.Service(r.Input("web")), id.Family)
		if len(whole) == 0 {
			return
		}
		header, endpoints := *whole[0], []v1alpha1.RuleEndpoint(nil)
		for _, part := range whole {
			endpoints = append(endpoints, part.Endpoints...)
		}
		header.Endpoints = nil
		var parts []*v1alpha1.ServiceRuleSliceSpec
		for i := range int32(4) {
			part := header.DeepCopy()
			part.Part, part.Parts = i, 4
			parts = append(parts, part)
		}
		for _, e := range endpoints {
			part := parts[r.IntN(4)]
			part.Endpoints = append(part.Endpoints, e)
			if r.Chance(10) { // moved just now
				other := parts[r.IntN(4)]
				other.Endpoints = append(other.Endpoints, e)
			}
		}
		header.Endpoints = endpoints
		want, err := resolve.Service(node, id, []*v1alpha1.ServiceRuleSliceSpec{&header})
		if err != nil {
			t.Error(err)
		}
		before := make([]*v1alpha1.ServiceRuleSliceSpec, 0, 4)
		Shuffle(r, parts)
		for _, p := range parts {
			before = append(before, p.DeepCopy())
		}
		got, err := resolve.Service(node, id, parts)
		if diff := cmp.Diff(want, got, ByValue); diff != "" || err != nil {
			t.Errorf("error %v, split parts (-whole +split):\n%s", err, diff)
		}
		if diff := cmp.Diff(before, parts); diff != "" {
			t.Errorf("Service changed its input:\n%s", diff)
		}
	})
}

func TestDiffProperties(t *testing.T) {
	EverySeed(t, 500, func(t *testing.T, r *Random) {
		a, b := r.Table(t, r.Node()).Desired(), r.Table(t, r.Node()).Desired()
		if d := model.Diff(a, a); !d.Empty() {
			t.Errorf("Diff of the same: %v", changes(d))
		}
		d := model.Diff(a, b)
		if !slices.IsSortedFunc(d.Frontends, func(x, y model.Change) int { return x.Key.Compare(y.Key) }) {
			t.Error("changes are not sorted")
		}
		for _, c := range d.Frontends {
			if c.Old != a.Frontends[c.Key] || c.New != b.Frontends[c.Key] || c.Old.Equal(c.New) {
				t.Errorf("change of %s: %+v to %+v", c.Key, c.Old, c.New)
			}
		}
		d.Apply(&a)
		if diff := cmp.Diff(b, a, ByValue); diff != "" {
			t.Errorf("applied (-want +got):\n%s", diff)
		}
	})
}

// Whatever happens to a table: the deltas add up to what it holds, each is the difference
// from the previous one, and a new table that is filled in another order holds the same.
func TestTableProperties(t *testing.T) {
	EverySeed(t, 100, func(t *testing.T, r *Random) {
		node := r.Node()
		table, flushed, before := resolve.NewTable(), model.NewDesired(), model.NewDesired()
		last, checks := map[model.ServiceID]resolve.Result{}, resolve.HealthChecks{}
		for range 30 {
			if r.Chance(10) {
				settings, err := resolve.Settings(r.Node().Spec)
				if err != nil {
					t.Fatal(err)
				}
				table.SetNode(settings)
			}
			id := model.ServiceID{Namespace: "default", Name: Pick(r, "a", "b", "c", "d", "e"), Family: Pick(r, corev1.IPv4Protocol, corev1.IPv6Protocol)}
			resolved := resolve.Result{}
			if r.Chance(80) {
				var err error
				if resolved, err = resolve.Service(node, id, Specs(compile.Service(r.Input(id.Name)), id.Family)); err != nil {
					t.Fatal(err)
				}
			}
			table.Set(id, resolved)
			last[id] = resolved
			if r.Chance(60) {
				continue
			}
			d := table.Flush()
			if diff := cmp.Diff(changes(model.Diff(before, table.Desired())), changes(d), ByValue); diff != "" {
				t.Errorf("flush (-difference +flushed):\n%s", diff)
			}
			d.Apply(&flushed)
			before = table.Desired()
			if err := CheckPorts(before); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(before, flushed, ByValue); diff != "" {
				t.Errorf("flushed (-table +flushed):\n%s", diff)
			}
			maps.Copy(checks, table.FlushHealthChecks())
			checkFresh(t, r, table, last, checks)
		}
	})
}

func checkFresh(t *testing.T, r *Random, table *resolve.Table, last map[model.ServiceID]resolve.Result, checks resolve.HealthChecks) {
	t.Helper()
	var ids []model.ServiceID
	for id := range last {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b model.ServiceID) int { return slices.Compare([]string{a.String()}, []string{b.String()}) })
	Shuffle(r, ids)
	fresh := resolve.NewTable()
	fresh.SetNode(table.Desired().Node)
	for _, id := range ids {
		fresh.Set(id, last[id])
	}
	if diff := cmp.Diff(fresh.Desired(), table.Desired(), ByValue); diff != "" {
		t.Errorf("table (-fresh +incremental):\n%s", diff)
	}
	maps.DeleteFunc(checks, func(_ resolve.HealthPort, claims []resolve.HealthCheck) bool { return len(claims) == 0 })
	if diff := cmp.Diff(fresh.FlushHealthChecks(), checks, ByValue); diff != "" {
		t.Errorf("health checks (-fresh +incremental):\n%s", diff)
	}
	if fresh.Counts() != table.Counts() {
		t.Errorf("counts %+v, fresh %+v", table.Counts(), fresh.Counts())
	}
}
