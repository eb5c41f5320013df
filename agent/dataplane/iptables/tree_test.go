// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// chainsOf returns a tree's chains with their rules.
func chainsOf[K comparable](t *tree[K]) map[string][]string {
	out := map[string][]string{}
	for name := range t.nodes {
		out[name], _ = t.render(name)
	}
	return out
}

func ignore(string, renderer) {}

func addressTree(touch touch) *tree[netip.Addr] {
	return newTree("ROOT", "R-", addressDigits{false, "-d"}, func(a netip.Addr) []string { return []string{"-d " + a.String()} }, touch)
}

func portTree(touch touch) *tree[portKey] {
	return newTree("ROOT", "R-", portDigits{}, func(k portKey) []string { return []string{k.match()} }, touch)
}

// testTree adds and removes keys in random order, and checks after each step that the
// chains are those of a tree that got its keys in another order, and that touch was called
// for all changed chains.
func testTree[K comparable](t *testing.T, r *rand.Rand, make func(touch) *tree[K], key func() K) {
	touched := map[string]bool{}
	tree := make(func(chain string, _ renderer) { touched[chain] = true })
	keys, order := map[K]bool{}, []K{}
	for step := range 250 {
		before := chainsOf(tree)
		clear(touched)
		if k := key(); !keys[k] && (step < 100 || r.IntN(2) == 0 && step < 180) {
			keys[k], order = true, append(order, k)
			tree.add(k)
		} else if len(order) > 0 {
			i := r.IntN(len(order))
			tree.remove(order[i])
			delete(keys, order[i])
			order[i] = order[len(order)-1]
			order = order[:len(order)-1]
		}
		if tree.size() != len(order) {
			t.Fatalf("step %d: size %d, want %d", step, tree.size(), len(order))
		}
		other := make(ignore)
		for _, i := range r.Perm(len(order)) {
			other.add(order[i])
		}
		after := chainsOf(tree)
		if diff := cmp.Diff(chainsOf(other), after); diff != "" {
			t.Fatalf("step %d: (-another order +this one)\n%s", step, diff)
		}
		for name := range after {
			if !touched[name] && !cmp.Equal(before[name], after[name]) {
				t.Fatalf("step %d: %s has changed and was not touched", step, name)
			}
			delete(before, name)
		}
		for name := range before {
			if !touched[name] {
				t.Fatalf("step %d: %s is gone and was not touched", step, name)
			}
		}
	}
}

func TestTreeIsAFunctionOfItsKeys(t *testing.T) {
	for name, bits := range map[string]uint32{"all over": 0xffffffff, "a few low bits": 0x3f, "a few high bits": 0xf8400001, "high bits": 0xff000000} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, uint64(bits)))
			testTree(t, r, addressTree, func() netip.Addr {
				n := r.Uint32() & bits
				if r.IntN(30) == 0 {
					n |= 1 << r.IntN(32) // a digit that all others share
				}
				return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
			})
		})
	}
	for name, ports := range map[string]int{"all ports": 65535, "some ports": 120} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(2, uint64(ports)))
			protocols := []model.Protocol{model.TCP, model.UDP, model.SCTP}
			testTree(t, r, portTree, func() portKey { return portKey{protocols[r.IntN(3)], uint16(1 + r.IntN(ports))} })
		})
	}
}

// TestTreeFindsEveryKey follows packets through the chains.
func TestTreeFindsEveryKey(t *testing.T) {
	tree := addressTree(ignore)
	for i := range 10_000 {
		tree.add(netip.AddrFrom4([4]byte{10, 96, byte(i / 250), byte(i%250 + 1)}))
	}
	chains := chainsOf(tree)
	most := 0
	for i := range 10_000 {
		a := netip.AddrFrom4([4]byte{10, 96, byte(i / 250), byte(i%250 + 1)})
		passed, found := 0, false
		for chain := "ROOT"; chain != "" && !found; {
			next := ""
			for _, rule := range chains[chain] {
				passed++
				words := strings.Fields(rule)
				if len(words) == 2 && words[1] == a.String() {
					found = true
				} else if len(words) == 4 && masked(a, words[1]) {
					next = words[3]
				}
				if found || next != "" {
					break
				}
			}
			chain = next
		}
		if !found {
			t.Fatalf("%s is not found", a)
		}
		most = max(most, passed)
	}
	if most > 60 {
		t.Errorf("a packet passes up to %d rules", most)
	}
}

// masked says whether an address has the bits of a text like 0.0.0.5/0.0.0.15.
func masked(a netip.Addr, text string) bool {
	value, mask, _ := strings.Cut(text, "/")
	v, m, bits := netip.MustParseAddr(value).As4(), netip.MustParseAddr(mask).As4(), a.As4()
	for i := range bits {
		if bits[i]&m[i] != v[i] {
			return false
		}
	}
	return true
}

// TestOneKeyChangesFewChains counts the chains that adding a key changes, in small and in
// large trees.
func TestOneKeyChangesFewChains(t *testing.T) {
	for _, n := range []int{100, 10_000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			touched := map[string]bool{}
			tree := addressTree(func(chain string, _ renderer) { touched[chain] = true })
			for i := range n {
				tree.add(netip.AddrFrom4([4]byte{10, 96, byte(i / 250), byte(i%250 + 1)}))
			}
			sum := 0
			for i := range 100 {
				clear(touched)
				a := netip.AddrFrom4([4]byte{10, 97, byte(i), 7})
				tree.add(a)
				tree.remove(a)
				sum += len(touched)
			}
			if sum > 400 {
				t.Errorf("adding and removing 100 keys changes %d chains", sum)
			}
		})
	}
}
