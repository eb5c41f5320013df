// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"crypto/sha256"
	"encoding/base32"
	"maps"
	"slices"
)

// A tree finds the rules of a key in few steps: a chain holds the rules of a few keys, or
// else one rule for each value of the next digit of its keys, which goes to a separate
// chain.
//
// A digit that all keys of a chain share is not compared. So the chains are a function of
// the keys alone, whatever the order in which they were added: a new agent finds the
// chains of the previous one. Adding or removing a key changes its own chain, sometimes
// that chain's neighbours, and nothing else.
type tree[K comparable] struct {
	root   string // the name of the first chain
	prefix string // of the names of the other chains
	digits digits[K]
	rules  func(K) []string
	nodes  map[string]*node[K]
	touch  touch
}

// touch is called for each chain of a tree that may have changed.
type touch func(chain string, by renderer)

// renderer renders the rules of its chains; false: there is no such chain.
type renderer interface {
	render(chain string) ([]string, bool)
}

// digits says how keys are split into digits.
type digits[K comparable] interface {
	// count is the number of digits of a key.
	digit(k K, i int) byte
	// match returns a match for packets with digit i of a key, among those with the digits
	// before it.
	match(k K, i int) string
	compare(a, b K) int
	// maxDepth is the maximum nesting depth of chains.
	maxDepth() int
	// leafSize is the maximum number of keys in a chain.
	leafSize() int
}

// node is a chain. A leaf has keys, all others have children.
type node[K comparable] struct {
	name     string
	depth    int
	size     int
	keys     []K // sorted
	index    int // of the digit that distinguishes the children
	children map[byte]*node[K]
}

func newTree[K comparable](root, prefix string, d digits[K], rules func(K) []string, touch touch) *tree[K] {
	t := &tree[K]{root: root, prefix: prefix, digits: d, rules: rules, nodes: map[string]*node[K]{}, touch: touch}
	t.nodes[root] = &node[K]{name: root, depth: 1}
	touch(root, t)
	return t
}

func (t *tree[K]) size() int { return t.nodes[t.root].size }

// add adds a key that is not in the tree.
func (t *tree[K]) add(k K) { t.change(k, +1) }

// remove removes a key that is in the tree.
func (t *tree[K]) remove(k K) { t.change(k, -1) }

// update notes that the rules of a key have changed.
func (t *tree[K]) update(k K) { t.touch(t.leaf(k), t) }

// leaf returns the chain that a key's rules are in, of a key that is in the tree.
func (t *tree[K]) leaf(k K) string {
	n := t.nodes[t.root]
	for n.children != nil {
		n = t.child(n, k)
	}
	return n.name
}

// close removes all chains.
func (t *tree[K]) close() {
	for name := range t.nodes {
		t.drop(name)
	}
}

// change adds or removes a key, and restructures the chains on its path.
func (t *tree[K]) change(k K, by int) {
	n := t.nodes[t.root]
	for n.children != nil {
		n.size += by
		next := t.child(n, k)
		switch {
		case !t.splits(n), t.differs(n, k) < n.index, // a chain is inserted above its children
			next != nil && next.size+by == 0 && len(n.children) == 2: // or removed
			t.rebuild(n, t.with(n, k, by))
			return
		case next == nil:
			t.attach(n, []K{k})
			t.touch(n.name, t)
			return
		case next.size+by == 0:
			delete(n.children, t.digits.digit(k, n.index))
			t.drop(next.name)
			t.touch(n.name, t)
			return
		}
		n = next
	}
	n.size += by
	t.changeLeaf(n, k, by)
}

func (t *tree[K]) changeLeaf(n *node[K], k K, by int) {
	i, _ := slices.BinarySearchFunc(n.keys, k, t.digits.compare)
	if by > 0 {
		n.keys = slices.Insert(n.keys, i, k)
	} else {
		n.keys = slices.Delete(n.keys, i, i+1)
	}
	if t.splits(n) {
		t.build(n, n.keys)
	}
	t.touch(n.name, t)
}

func (t *tree[K]) splits(n *node[K]) bool {
	return n.size > t.digits.leafSize() && n.depth < t.digits.maxDepth()
}

// with returns the keys below a chain, with one key added or removed.
func (t *tree[K]) with(n *node[K], k K, by int) []K {
	keys := n.collect(nil)
	if by > 0 {
		keys = append(keys, k)
	} else {
		keys = slices.DeleteFunc(keys, func(o K) bool { return o == k })
	}
	slices.SortFunc(keys, t.digits.compare)
	return keys
}

func (n *node[K]) collect(keys []K) []K {
	for _, c := range n.children {
		keys = c.collect(keys)
	}
	return append(keys, n.keys...)
}

// rebuild makes the chains below a chain again. Comparing the rules shows later which of
// them have not changed.
func (t *tree[K]) rebuild(n *node[K], keys []K) {
	t.forget(n)
	t.build(n, keys)
	t.touch(n.name, t)
}

func (t *tree[K]) forget(n *node[K]) {
	for _, c := range n.children {
		t.forget(c)
		t.drop(c.name)
	}
	n.children, n.keys = nil, nil
}

func (t *tree[K]) drop(name string) {
	delete(t.nodes, name)
	t.touch(name, t)
}

// build makes a chain, and those below it, for some sorted keys.
func (t *tree[K]) build(n *node[K], keys []K) {
	n.size, n.keys, n.children = len(keys), keys, nil
	if !t.splits(n) {
		return
	}
	n.index = t.firstDifference(keys)
	n.keys, n.children = nil, map[byte]*node[K]{}
	parts := map[byte][]K{}
	for _, k := range keys {
		d := t.digits.digit(k, n.index)
		parts[d] = append(parts[d], k)
	}
	for _, part := range parts {
		t.attach(n, part)
	}
}

// attach adds a child with some keys to a chain.
func (t *tree[K]) attach(n *node[K], keys []K) {
	c := &node[K]{name: t.name(keys[0], n.index), depth: n.depth + 1}
	n.children[t.digits.digit(keys[0], n.index)], t.nodes[c.name] = c, c
	t.build(c, keys)
	t.touch(c.name, t)
}

// firstDifference returns the first digit in which keys differ.
func (t *tree[K]) firstDifference(keys []K) int {
	i := 0
	for !slices.ContainsFunc(keys, func(k K) bool { return t.digits.digit(k, i) != t.digits.digit(keys[0], i) }) {
		i++
	}
	return i
}

// differs returns the first digit in which a key differs from the keys below a chain, at
// most the digit that distinguishes the children.
func (t *tree[K]) differs(n *node[K], k K) int {
	other := n.any()
	for i := range n.index {
		if t.digits.digit(k, i) != t.digits.digit(other, i) {
			return i
		}
	}
	return n.index
}

// any returns one of the keys below a chain.
func (n *node[K]) any() K {
	for n.children != nil {
		for _, n = range n.children {
			break
		}
	}
	return n.keys[0]
}

func (t *tree[K]) child(n *node[K], k K) *node[K] { return n.children[t.digits.digit(k, n.index)] }

// name returns the name of the chain of keys with the first digits of k, up to digit i.
func (t *tree[K]) name(k K, i int) string {
	path := []byte(t.root)
	for j := range i + 1 {
		path = append(path, t.digits.digit(k, j))
	}
	return t.prefix + hash(path)
}

// hash returns 16 characters that stand for a text in the name of a chain.
func hash(text []byte) string {
	sum := sha256.Sum256(text)
	return base32.StdEncoding.EncodeToString(sum[:10])
}

// render returns the rules of a chain; false: there is no such chain.
func (t *tree[K]) render(name string) ([]string, bool) {
	n := t.nodes[name]
	if n == nil {
		return nil, false
	}
	var out []string
	for _, k := range n.keys {
		out = append(out, t.rules(k)...)
	}
	for _, d := range slices.Sorted(maps.Keys(n.children)) {
		c := n.children[d]
		out = append(out, t.digits.match(c.any(), n.index)+" -g "+c.name)
	}
	return out, true
}
