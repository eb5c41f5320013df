// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
)

func TestEndpointsEach(t *testing.T) {
	for name, c := range map[string]struct{ together, ports, want int }{
		"none":      {4096, 0, 4096},
		"one":       {4096, 1, 4096},
		"two":       {4096, 2, 2048},
		"three":     {4096, 3, 1024},
		"four":      {4096, 4, 1024},
		"a hundred": {4096, 100, 32},
		"too many":  {4096, 10_000, 1},
	} {
		if got := EndpointsEach(c.together, c.ports); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func TestSubset(t *testing.T) {
	var all []Endpoint
	for i := range 250 {
		all = append(all, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, byte(i >> 8), byte(i)}), 80))
	}
	for _, n := range []int{249, 250, 251} {
		if got := Subset(all, n, "a"); len(got) != min(n, 250) {
			t.Errorf("%d of %d", len(got), n)
		}
	}
	if got := Subset(append(slices.Clone(all), all[0]), 32, "a"); len(got) != 32 { // two have one rank
		t.Errorf("%d of 32, one twice", len(got))
	}
	one := NodeSettings{PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")}}
	if one.SubsetSeed() == (NodeSettings{}).SubsetSeed() {
		t.Error("all nodes choose the same")
	}
	chosen := Subset(all, 32, "a")
	if len(chosen) != 32 || !slices.IsSortedFunc(chosen, Endpoint.Compare) {
		t.Errorf("chosen %v", chosen)
	}
	used := map[Endpoint]int{}
	for seed := range 500 {
		for _, e := range Subset(all, 32, fmt.Sprint(seed)) {
			used[e]++
		}
	}
	for _, e := range all { // 64 on average
		if used[e] < 25 || used[e] > 120 {
			t.Errorf("%s is used by %d of 500 nodes", e, used[e])
		}
	}
	for i, gone := range all {
		now := Subset(slices.Delete(slices.Clone(all), i, i+1), 32, "a")
		differ := 0
		for _, e := range chosen {
			if !slices.Contains(now, e) {
				differ++
			}
		}
		if want := map[bool]int{true: 1}[slices.Contains(chosen, gone)]; differ != want {
			t.Errorf("without %s %d others are chosen, want %d", gone, differ, want)
		}
	}
}

func TestRoundPorts(t *testing.T) {
	for ports, want := range map[int]int{0: 1, 1: 1, 2: 2, 3: 4, 4: 4, 5: 8, 1000: 1024} {
		if got := RoundPorts(ports); got != want {
			t.Errorf("%d: %d, want %d", ports, got, want)
		}
	}
}
