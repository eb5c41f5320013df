// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"fmt"
	"maps"
	"testing"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Only allowed sources and processes of the node reach node ports. A changed range is one
// change, however many node ports there are.
func testNodePortSources(t *testing.T, s Subject) {
	const outside, outside6, pods, pods6 = "203.0.113.0/24", "2001:db8::/64", "10.244.0.0/16", "fd00:244::/32"
	costs := map[int]int{}
	for _, size := range []int{10, 300} {
		n := s.node(t)
		n.Serve(podEndpoints...)
		d := s.start(n)
		open := nodePorts(size)
		if len(synced(t, d, open).Unsupported) > 0 {
			t.Skip("the mode has no node ports in both families")
		}
		before := open.Clone()
		wants := func(step string, out, pod answer) {
			t.Helper()
			for _, to := range []string{"192.168.0.2:30001", "[fd00:168::2]:30001"} {
				for from, want := range map[string]answer{"outside": out, "a Pod": pod, "the node": served} {
					space := n.Outside
					switch from {
					case "a Pod":
						space = n.Client
					case "the node":
						space = n.Space
					}
					if got, _ := n.meet(space, "tcp", to, 1, want); got != want {
						t.Errorf("%s, %d node ports: %s from %s is %s, want %s", step, size, to, from, got, want)
					}
				}
			}
		}
		change := func(after model.Desired) int {
			t.Helper()
			ops := apply(t, d, before, after).Operations
			before = after
			return ops
		}
		restricted := func(sources ...string) model.Desired {
			after := open.Clone()
			after.Frontends = maps.Clone(open.Frontends)
			RestrictNodePorts(&after, sources...)
			return after
		}
		wants("open", served, served)
		change(restricted(outside, outside6, "198.51.100.0/24"))
		wants("outside is allowed", served, silence)
		costs[size] = change(restricted(outside, outside6, "198.51.100.0/25"))
		change(restricted(pods, pods6, "198.51.100.0/25"))
		wants("Pods are allowed", silence, served)
		closed(t, d)
		d = s.start(n)
		s.adopted(t, d, before)
		wants("another agent", silence, served)
		change(restricted())
		wants("no source is allowed", silence, silence)
		change(open)
		wants("open again", served, served)
		closed(t, d)
	}
	t.Log(fmt.Sprint("operations for a changed range by the number of node ports: ", costs))
	if s.EndsWithProcess == "" && (costs[10] == 0 || costs[10] != costs[300]) {
		t.Errorf("a changed range costs %d operations with 10 node ports, and %d with 300", costs[10], costs[300])
	}
}

// nodePorts are n Services with a node port in each family.
func nodePorts(n int) model.Desired {
	d := empty()
	for i := range n {
		name := fmt.Sprint("web-", i)
		also(&d, put(&d, name, virtualAddress(i)+":80/tcp", both), fmt.Sprintf("nodeport:%d/tcp", 30001+i), model.KindNodePort)
		also(&d, put(&d, name, fmt.Sprintf("[fd00:96::1:%x]:80/tcp", i+1), both6), fmt.Sprintf("nodeport6:%d/tcp", 30001+i), model.KindNodePort)
	}
	return d
}
