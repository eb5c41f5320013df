// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

func (r *random) id() ServiceID {
	return ServiceID{"default", "web", pick(r, corev1.IPv4Protocol, corev1.IPv6Protocol)}
}

func TestCompileProperties(t *testing.T) {
	everySeed(t, 500, func(t *testing.T, r *random) {
		in := r.input("web")
		before := CompileInput{Service: in.Service.DeepCopy(), Parts: in.Parts}
		for _, s := range in.EndpointSlices {
			before.EndpointSlices = append(before.EndpointSlices, s.DeepCopy())
		}
		first := Compile(in)
		if !reflect.DeepEqual(before, in) {
			t.Error("Compile changed its input")
		}
		if diff := cmp.Diff(first, Compile(in)); diff != "" {
			t.Errorf("Compile is not deterministic:\n%s", diff)
		}
		if diff := cmp.Diff(first, Compile(r.reordered(in))); diff != "" {
			t.Errorf("Compile depends on the order of its input:\n%s", diff)
		}
		in.Parts = map[corev1.IPFamily]int32{}
		for _, s := range first.Slices {
			in.Parts[s.Spec.AddressFamily] = s.Spec.Parts
		}
		if diff := cmp.Diff(first, Compile(in)); diff != "" {
			t.Errorf("Compile is not idempotent:\n%s", diff)
		}
	})
}

// What Compile writes, Resolve reads without an error, also after a way through
// the API.
func TestCompiledIsWellFormed(t *testing.T) {
	everySeed(t, 500, func(t *testing.T, r *random) {
		node, id := r.node(), r.id()
		parts := specs(Compile(r.input("web")), id.Family)
		resolved, err := Resolve(node, id, parts)
		if err != nil {
			t.Error(err)
		}
		checkResolved(t, id, resolved)
		var read []*v1alpha1.ServiceRuleSliceSpec
		for _, spec := range parts {
			text, err := json.Marshal(spec)
			if err != nil {
				t.Fatal(err)
			}
			again := &v1alpha1.ServiceRuleSliceSpec{}
			if err := json.Unmarshal(text, again); err != nil {
				t.Fatal(err)
			}
			name := SliceName("web", id.Family, spec.Part)
			if got := Digest("default", name, *again); got != spec.Digest {
				t.Errorf("digest %s, read back %s", spec.Digest, got)
			}
			read = append(read, again)
		}
		if again, err := Resolve(node, id, read); err != nil || !cmp.Equal(resolved, again, byValue) {
			t.Errorf("error %v, read back:\n%s", err, cmp.Diff(resolved, again, byValue))
		}
	})
}

func TestResolveProperties(t *testing.T) {
	everySeed(t, 500, func(t *testing.T, r *random) {
		node, id := r.node(), r.id()
		whole := specs(Compile(CompileInput{Service: r.service("web").Service}), id.Family)
		if len(whole) == 0 {
			return
		}
		in := r.input("web")
		header := *whole[0]
		endpoints := compileEndpoints(in, &header, &problemList{})
		var parts []*v1alpha1.ServiceRuleSliceSpec
		for i := range int32(4) {
			part := header.DeepCopy()
			part.Part, part.Parts = i, 4
			parts = append(parts, part)
		}
		for _, e := range endpoints {
			part := parts[partOf(e.Address, 4)]
			part.Endpoints = append(part.Endpoints, e)
			if r.chance(10) { // moved just now
				other := parts[r.IntN(4)]
				other.Endpoints = append(other.Endpoints, e)
			}
		}
		header.Endpoints = endpoints
		want, err := Resolve(node, id, []*v1alpha1.ServiceRuleSliceSpec{&header})
		if err != nil {
			t.Error(err)
		}
		before := make([]*v1alpha1.ServiceRuleSliceSpec, 0, 4)
		shuffle(r, parts)
		for _, p := range parts {
			before = append(before, p.DeepCopy())
		}
		got, err := Resolve(node, id, parts)
		if diff := cmp.Diff(want, got, byValue); diff != "" || err != nil {
			t.Errorf("error %v, split parts (-whole +split):\n%s", err, diff)
		}
		if diff := cmp.Diff(before, parts); diff != "" {
			t.Errorf("Resolve changed its input:\n%s", diff)
		}
	})
}

func TestDiffProperties(t *testing.T) {
	everySeed(t, 500, func(t *testing.T, r *random) {
		a, b := r.table(t, r.node()).Desired(), r.table(t, r.node()).Desired()
		if d := Diff(a, a); !d.Empty() {
			t.Errorf("Diff of the same: %v", changes(d))
		}
		d := Diff(a, b)
		if !slices.IsSortedFunc(d.Frontends, func(x, y Change) int { return x.Key.Compare(y.Key) }) {
			t.Error("changes are not sorted")
		}
		for _, c := range d.Frontends {
			if c.Old != a.Frontends[c.Key] || c.New != b.Frontends[c.Key] || c.Old.Equal(c.New) {
				t.Errorf("change of %s: %+v to %+v", c.Key, c.Old, c.New)
			}
		}
		d.Apply(&a)
		if diff := cmp.Diff(b, a, byValue); diff != "" {
			t.Errorf("applied (-want +got):\n%s", diff)
		}
	})
}

// Whatever happens to a table: the deltas add up to what it holds, each is the
// difference since the one before, and a table filled afresh in another order
// holds the same.
func TestTableProperties(t *testing.T) {
	everySeed(t, 100, func(t *testing.T, r *random) {
		node := r.node()
		table, flushed, before := NewTable(), NewDesired(), NewDesired()
		last, checks := map[ServiceID]Resolved{}, HealthChecks{}
		for range 30 {
			if r.chance(10) {
				settings, err := Settings(r.node().Spec)
				if err != nil {
					t.Fatal(err)
				}
				table.SetNode(settings)
			}
			id := ServiceID{"default", pick(r, "a", "b", "c", "d", "e"), pick(r, corev1.IPv4Protocol, corev1.IPv6Protocol)}
			resolved := Resolved{}
			if r.chance(80) {
				var err error
				if resolved, err = Resolve(node, id, specs(Compile(r.input(id.Name)), id.Family)); err != nil {
					t.Fatal(err)
				}
			}
			table.Set(id, resolved)
			last[id] = resolved
			if r.chance(60) {
				continue
			}
			d := table.Flush()
			if diff := cmp.Diff(changes(Diff(before, table.Desired())), changes(d), byValue); diff != "" {
				t.Errorf("flush (-difference +flushed):\n%s", diff)
			}
			d.Apply(&flushed)
			before = table.Desired()
			if err := checkPorts(before); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(before, flushed, byValue); diff != "" {
				t.Errorf("flushed (-table +flushed):\n%s", diff)
			}
			maps.Copy(checks, table.FlushHealthChecks())
			checkFresh(t, r, table, last, checks)
		}
	})
}

func checkFresh(t *testing.T, r *random, table *Table, last map[ServiceID]Resolved, checks HealthChecks) {
	t.Helper()
	var ids []ServiceID
	for id := range last {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b ServiceID) int { return slices.Compare([]string{a.String()}, []string{b.String()}) })
	shuffle(r, ids)
	fresh := NewTable()
	fresh.SetNode(table.Desired().Node)
	for _, id := range ids {
		fresh.Set(id, last[id])
	}
	if diff := cmp.Diff(fresh.Desired(), table.Desired(), byValue); diff != "" {
		t.Errorf("table (-fresh +incremental):\n%s", diff)
	}
	maps.DeleteFunc(checks, func(_ HealthPort, claims []HealthCheck) bool { return len(claims) == 0 })
	if diff := cmp.Diff(fresh.FlushHealthChecks(), checks, byValue); diff != "" {
		t.Errorf("health checks (-fresh +incremental):\n%s", diff)
	}
	if fresh.Counts() != table.Counts() {
		t.Errorf("counts %+v, fresh %+v", table.Counts(), fresh.Counts())
	}
}
