// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// TestDiff checks what a delta has of each kind of change, in order, and that it is not empty then.
func TestDiff(t *testing.T) {
	set := func(addresses ...string) map[netip.Addr]struct{} {
		out := map[netip.Addr]struct{}{}
		for _, a := range addresses {
			out[addr(a)] = struct{}{}
		}
		return out
	}
	key := func(a string) model.FrontendKey {
		return model.FrontendKey{Address: addr(a), Protocol: model.TCP, Port: 80}
	}
	at := func(a, name string) *model.Frontend { return &model.Frontend{Key: key(a), PortName: name} }
	frontends := func(all ...*model.Frontend) map[model.FrontendKey]*model.Frontend {
		out := map[model.FrontendKey]*model.Frontend{}
		for _, f := range all {
			out[f.Key] = f
		}
		return out
	}
	one, other, three := at("10.96.0.1", "a"), at("10.96.0.1", "b"), at("10.96.0.3", "c")
	for name, tc := range map[string]struct {
		a, b model.Desired
		want model.Delta
	}{
		"nothing": {model.Desired{Frontends: frontends(one)}, model.Desired{Frontends: frontends(at("10.96.0.1", "a"))}, model.Delta{}},
		"the node": {model.Desired{}, model.Desired{Node: model.NodeSettings{PodInterface: "eth0"}},
			model.Delta{Node: &model.NodeSettings{PodInterface: "eth0"}}},
		"added":   {model.Desired{}, model.Desired{Frontends: frontends(one)}, model.Delta{Frontends: []model.Change{{Key: one.Key, New: one}}}},
		"removed": {model.Desired{Frontends: frontends(one)}, model.Desired{}, model.Delta{Frontends: []model.Change{{Key: one.Key, Old: one}}}},
		"changed": {model.Desired{Frontends: frontends(one)}, model.Desired{Frontends: frontends(other)},
			model.Delta{Frontends: []model.Change{{Key: one.Key, Old: one, New: other}}}},
		"several, by key": {model.Desired{Frontends: frontends(three)}, model.Desired{Frontends: frontends(at("10.96.0.2", ""), one)},
			model.Delta{Frontends: []model.Change{{Key: one.Key, New: one}, {Key: key("10.96.0.2"), New: at("10.96.0.2", "")}, {Key: three.Key, Old: three}}}},
		"cluster IPs": {model.Desired{ClusterIPs: set("10.96.0.9", "10.96.0.10", "10.96.0.1")}, model.Desired{ClusterIPs: set("10.96.0.1", "fd00::2", "fd00::1")},
			model.Delta{ClusterIPs: model.AddrChanges{Added: []netip.Addr{addr("fd00::1"), addr("fd00::2")}, Removed: []netip.Addr{addr("10.96.0.9"), addr("10.96.0.10")}}}},
		"a local endpoint, added":   {model.Desired{}, model.Desired{LocalEndpoints: set("10.244.0.1")}, model.Delta{LocalEndpoints: model.AddrChanges{Added: []netip.Addr{addr("10.244.0.1")}}}},
		"a local endpoint, removed": {model.Desired{LocalEndpoints: set("10.244.0.1")}, model.Desired{}, model.Delta{LocalEndpoints: model.AddrChanges{Removed: []netip.Addr{addr("10.244.0.1")}}}},
		"a cluster IP, added":       {model.Desired{}, model.Desired{ClusterIPs: set("10.96.0.1")}, model.Delta{ClusterIPs: model.AddrChanges{Added: []netip.Addr{addr("10.96.0.1")}}}},
		"a cluster IP, removed":     {model.Desired{ClusterIPs: set("10.96.0.1")}, model.Desired{}, model.Delta{ClusterIPs: model.AddrChanges{Removed: []netip.Addr{addr("10.96.0.1")}}}},
	} {
		t.Run(name, func(t *testing.T) {
			got := model.Diff(tc.a, tc.b)
			if diff := cmp.Diff(tc.want, got, byValue); diff != "" {
				t.Errorf("delta (-want +got):\n%s", diff)
			}
			if got.Empty() != (name == "nothing") {
				t.Errorf("empty: %v", got.Empty())
			}
			now := tc.a.Clone()
			if got.Apply(&now); !cmp.Equal(tc.b.Clone(), now, byValue) {
				t.Errorf("applied:\n%s", cmp.Diff(tc.b.Clone(), now, byValue))
			}
			if now = tc.b.Clone(); len(got.Frontends) > 0 {
				inverse := got.Inverse(tc.a)
				if inverse.Apply(&now); !cmp.Equal(tc.a.Clone(), now, byValue) {
					t.Errorf("undone:\n%s", cmp.Diff(tc.a.Clone(), now, byValue))
				}
				for i, c := range inverse.Frontends {
					if c.Old != got.Frontends[i].New {
						t.Errorf("undone, %s was %v", c.Key, c.Old)
					}
				}
			}
		})
	}
}
