// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"bytes"
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/kernel/netlink"
)

// Reader lists the objects of a kind in the kernel. Client implements it.
type Reader interface {
	// Dump asks for the objects of a kind, such as unix.NFT_MSG_GETSET, and calls each for
	// the attributes of each object as they arrive; valid until each returns. It may start
	// again, and calls restart before each try. filter are attributes that a kernel may
	// ignore.
	Dump(ctx context.Context, msgType int, family byte, filter []byte, restart func(), each func(attrs []byte) error) error
}

// ReadTable says whether a table of that name exists, and whether it is as described.
func ReadTable(ctx context.Context, r Reader, t *Table) (exists, same bool, err error) {
	err = r.Dump(ctx, unix.NFT_MSG_GETTABLE, t.Family, nil,
		func() { exists, same = false, false },
		func(got []byte) error {
			if t.has(got) {
				exists, same = true, netlink.Covers(got, t.attrs)
			}
			return nil
		})
	return exists, same, err
}

// HeldSet is a set in the kernel.
type HeldSet struct {
	Name  string
	attrs []byte
}

// Is says whether the set is as described. A set cannot be changed once it exists.
func (h HeldSet) Is(s *Set) bool {
	return netlink.Covers(h.attrs, s.attrs) && (s.isMap || netlink.Find(h.attrs, unix.NFTA_SET_FLAGS) == nil)
}

// IsMap says whether the set is a map.
func (h HeldSet) IsMap() bool { return netlink.Find(h.attrs, setDataType) != nil }

// ReadSets returns the sets of a table.
func ReadSets(ctx context.Context, r Reader, t *Table) (sets []HeldSet, err error) {
	err = r.Dump(ctx, unix.NFT_MSG_GETSET, t.Family, t.named(),
		func() { sets = nil },
		func(got []byte) error {
			if t.has(got) {
				sets = append(sets, HeldSet{netlink.Text(netlink.Find(got, unix.NFTA_SET_NAME)), bytes.Clone(got)})
			}
			return nil
		})
	return sets, err
}

// HeldChain is a chain in the kernel.
type HeldChain struct {
	Base  bool // it has a hook
	Rules []HeldRule
	attrs []byte
}

// Is says whether the chain is as described, except for its rules.
func (h HeldChain) Is(c *Chain) bool { return netlink.Covers(h.attrs, c.attrs) && h.Base == c.base }

// HeldRule is a rule in the kernel.
type HeldRule struct{ exprs, userdata []byte }

// ReadChains returns the chains of a table by their names, with their rules in order.
func ReadChains(ctx context.Context, r Reader, t *Table) (map[string]HeldChain, error) {
	var chains map[string]HeldChain
	err := r.Dump(ctx, unix.NFT_MSG_GETCHAIN, t.Family, t.named(),
		func() { chains = map[string]HeldChain{} },
		func(got []byte) error {
			if t.has(got) {
				name := netlink.Text(netlink.Find(got, unix.NFTA_CHAIN_NAME))
				chains[name] = HeldChain{Base: netlink.Find(got, unix.NFTA_CHAIN_HOOK) != nil, attrs: bytes.Clone(got)}
			}
			return nil
		})
	if err != nil {
		return nil, err
	}
	var rules map[string][]HeldRule
	err = r.Dump(ctx, unix.NFT_MSG_GETRULE, t.Family, t.named(),
		func() { rules = map[string][]HeldRule{} },
		func(got []byte) error {
			if t.has(got) {
				name := netlink.Text(netlink.Find(got, unix.NFTA_RULE_CHAIN))
				rules[name] = append(rules[name], HeldRule{
					exprs:    bytes.Clone(netlink.Find(got, unix.NFTA_RULE_EXPRESSIONS)),
					userdata: bytes.Clone(netlink.Find(got, unix.NFTA_RULE_USERDATA)),
				})
			}
			return nil
		})
	for name, list := range rules {
		c := chains[name] // or it is new
		c.Rules = list
		chains[name] = c
	}
	return chains, err
}

// ReadChainNames returns the names of the chains of a table; none if there is no such table.
func ReadChainNames(ctx context.Context, r Reader, t *Table) (names []string, err error) {
	err = r.Dump(ctx, unix.NFT_MSG_GETCHAIN, t.Family, t.named(),
		func() { names = nil },
		func(got []byte) error {
			if t.has(got) {
				names = append(names, netlink.Text(netlink.Find(got, unix.NFTA_CHAIN_NAME)))
			}
			return nil
		})
	return names, err
}

// RulesEqual says whether a chain has exactly these rules.
func RulesEqual(have []HeldRule, want []Rule) bool {
	if len(have) != len(want) {
		return false
	}
	for i, r := range want {
		if !bytes.Equal(have[i].userdata, r.userdata()) || count(have[i].exprs) != count(r.exprs) ||
			!netlink.Covers(have[i].exprs, r.exprs) {
			return false
		}
	}
	return true
}

func count(b []byte) int {
	n := 0
	for range netlink.Attrs(b) {
		n++
	}
	return n
}

// ReadElements calls each for the elements of a set as they arrive, so that only one
// message of them is in memory. It may start again, and calls restart before each try.
func ReadElements(ctx context.Context, r Reader, s *Set, restart func(), each func(Element)) error {
	var w netlink.Buffer
	w.Text(unix.NFTA_SET_ELEM_LIST_TABLE, s.Table.Name)
	w.Text(unix.NFTA_SET_ELEM_LIST_SET, s.Name)
	err := r.Dump(ctx, unix.NFT_MSG_GETSETELEM, s.Table.Family, w.B, restart, func(got []byte) error {
		for _, element := range netlink.Attrs(netlink.Find(got, unix.NFTA_SET_ELEM_LIST_ELEMENTS)) {
			each(parseElement(element))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("set %s: %w", s.Name, err)
	}
	return nil
}
