// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"net/netip"
	"testing"
)

// A delta takes one state to another, and its inverse takes that back.
func TestInverse(t *testing.T) {
	address := netip.MustParseAddr
	state := func(port uint16, service string, addresses ...string) Desired {
		d := NewDesired()
		for _, a := range addresses {
			key := FrontendKey{Address: address(a), Protocol: TCP, Port: port}
			d.Frontends[key] = &Frontend{Key: key, PortName: service}
			d.ClusterIPs[key.Address], d.LocalEndpoints[key.Address] = struct{}{}, struct{}{}
		}
		d.Node.NodePortLocalhost = service == "a"
		return d
	}
	none, one, other, two := NewDesired(), state(80, "a", "10.96.0.1"), state(80, "b", "10.96.0.1"), state(80, "a", "10.96.0.1", "10.96.0.2")
	for name, tc := range map[string]struct{ from, to Desired }{
		"nothing":   {one, one},
		"added":     {none, two},
		"removed":   {two, none},
		"changed":   {one, other},
		"other way": {other, two},
	} {
		t.Run(name, func(t *testing.T) {
			delta, now := Diff(tc.from, tc.to), tc.from.Clone()
			inverse := delta.Inverse(now)
			delta.Apply(&now)
			if left := Diff(now, tc.to); !left.Empty() {
				t.Errorf("applied, it leaves %+v", left)
			}
			inverse.Apply(&now)
			if left := Diff(now, tc.from); !left.Empty() {
				t.Errorf("undone, it leaves %+v", left)
			}
		})
	}
	// What was to be replaced is not what is there: an earlier delta was not applied.
	key := FrontendKey{Address: address("10.96.0.1"), Protocol: TCP, Port: 80}
	skipped := Delta{Frontends: []Change{{Key: key, Old: &Frontend{Key: key, PortName: "skipped"}, New: other.Frontends[key]}}}
	now, inverse := one.Clone(), skipped.Inverse(one)
	skipped.Apply(&now)
	inverse.Apply(&now)
	if left := Diff(now, one); !left.Empty() {
		t.Errorf("undone after another delta was skipped, it leaves %+v", left)
	}
	repeated := Delta{ClusterIPs: AddrChanges{Added: []netip.Addr{address("10.96.0.1")}, Removed: []netip.Addr{address("10.96.0.9")}}}
	if inverse := repeated.Inverse(one); !inverse.Empty() {
		t.Errorf("a delta that changes nothing has the inverse %+v", inverse)
	}
}
