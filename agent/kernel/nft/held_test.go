// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
	"github.com/fairlead-proxy/fairlead/agent/kernel/netlink"
)

// TestRulesEqual compares rules with what the kernel has.
func TestRulesEqual(t *testing.T) {
	tab := NewTable(unix.NFPROTO_IPV4, "mine", "", false)
	set := tab.NewSet(SetSpec{Name: "addresses", Key: []Field{tab.DestinationField()}})
	drop, accept := tab.NewRule("why", tab.Destination(0), In(set, 0), Drop()), tab.NewRule("", tab.Destination(0), In(set, 0), Accept())
	shorter := tab.NewRule("why", tab.Destination(0), In(set, 0))
	because := tab.NewRule("because", tab.Destination(0), In(set, 0), Drop())
	for name, tc := range map[string]struct {
		have, want []Rule
		equal      bool
	}{
		"none":                    {nil, nil, true},
		"the same":                {[]Rule{drop, accept}, []Rule{drop, accept}, true},
		"another order":           {[]Rule{accept, drop}, []Rule{drop, accept}, false},
		"a rule more":             {[]Rule{drop, accept}, []Rule{drop}, false},
		"the same rule twice":     {[]Rule{drop, drop}, []Rule{drop}, false},
		"a rule is missing":       {[]Rule{drop}, []Rule{drop, accept}, false},
		"another comment":         {[]Rule{because}, []Rule{drop}, false},
		"an expression more":      {[]Rule{drop}, []Rule{shorter}, false},
		"an expression less":      {[]Rule{shorter}, []Rule{drop}, false},
		"another expression":      {[]Rule{accept}, []Rule{drop}, false},
		"the second one, another": {[]Rule{drop, accept}, []Rule{drop, drop}, false},
	} {
		t.Run(name, func(t *testing.T) {
			var have []HeldRule
			for _, r := range tc.have {
				have = append(have, HeldRule{exprs: r.exprs, userdata: r.userdata()})
			}
			if got := RulesEqual(have, tc.want); got != tc.equal {
				t.Errorf("equal: %v", got)
			}
		})
	}
}

// TestRewriteRules replaces the rules of a chain in the kernel, and those of no other.
func TestRewriteRules(t *testing.T) {
	c := dial(t, netnstest.NewSpace(t))
	tab := NewTable(unix.NFPROTO_IPV6, "mine", "", false)
	before := []Rule{tab.NewRule("one", Return()), tab.NewRule("two", Drop())}
	after := []Rule{tab.NewRule("three", Accept())}
	other := tab.NewChain("other", nil, before...)
	b := NewBatch()
	b.AddTable(tab)
	b.AddChain(tab.NewChain("changed", nil, before...))
	b.AddChain(other)
	if err := c.Commit(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	b = NewBatch()
	b.RewriteRules(tab.NewChain("changed", nil, after...))
	if err := c.Commit(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	chains, err := ReadChains(t.Context(), c, tab)
	if err != nil || !RulesEqual(chains["changed"].Rules, after) || !RulesEqual(chains["other"].Rules, before) {
		t.Errorf("%v, %d and %d rules, want 1 and 2", err, len(chains["changed"].Rules), len(chains["other"].Rules))
	}
}

// TestHeld compares sets and chains of another program with descriptions.
func TestHeld(t *testing.T) {
	tab := NewTable(unix.NFPROTO_IPV4, "mine", "", false)
	addresses := tab.NewSet(SetSpec{Name: "x", Key: []Field{tab.DestinationField()}})
	verdicts := tab.NewSet(SetSpec{Name: "x", Key: []Field{tab.DestinationField()}, Verdicts: true})
	hook := Hook{Number: unix.NF_INET_LOCAL_OUT, Priority: -100, Filter: true}
	base, plain := tab.NewChain("c", &hook), tab.NewChain("c", nil)
	for name, tc := range map[string]struct {
		content string
		set     *Set
		chain   *Chain
		want    bool
	}{
		"a set":                {"set x { type ipv4_addr; }", addresses, nil, true},
		"a set of ranges":      {"set x { type ipv4_addr; flags interval; }", addresses, nil, false},
		"a set with a timeout": {"set x { type ipv4_addr; flags timeout; }", addresses, nil, false},
		"a set of ports":       {"set x { type inet_service; }", addresses, nil, false},
		"a map":                {"map x { type ipv4_addr : verdict; }", verdicts, nil, true},
		"a map, not a set":     {"map x { type ipv4_addr : verdict; }", addresses, nil, false},
		"a set, not a map":     {"set x { type ipv4_addr; }", verdicts, nil, false},
		"a map to marks":       {"map x { type ipv4_addr : mark; }", verdicts, nil, false},
		"a chain":              {"chain c { }", nil, plain, true},
		"a base chain":         {"chain c { type filter hook output priority -100; }", nil, base, true},
		"a chain without hook": {"chain c { }", nil, base, false},
		"a chain with a hook":  {"chain c { type filter hook output priority -100; }", nil, plain, false},
		"another priority":     {"chain c { type filter hook output priority -99; }", nil, base, false},
		"another hook":         {"chain c { type filter hook input priority -100; }", nil, base, false},
		"another policy":       {"chain c { type filter hook output priority -100; policy drop; }", nil, base, false},
		"another type":         {"chain c { type nat hook output priority -100; }", nil, base, false},
		"no chain":             {"", nil, base, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := netnstest.NewSpace(t)
			s.Run("nft", "table ip mine { "+tc.content+"\n}")
			c := dial(t, s)
			got := false
			if tc.set != nil {
				sets, err := ReadSets(t.Context(), c, tab)
				if err != nil || len(sets) != 1 {
					t.Fatal(sets, err)
				}
				got = sets[0].Is(tc.set)
			} else {
				chains, err := ReadChains(t.Context(), c, tab)
				if err != nil {
					t.Fatal(err)
				}
				got = chains["c"].Is(tc.chain)
			}
			if got != tc.want {
				t.Errorf("it is as described: %v", got)
			}
		})
	}
}

// TestElements reads elements back, changes the value of one, and deletes one, in one batch.
func TestElements(t *testing.T) {
	const many = 5000 // more than one message takes
	c := dial(t, netnstest.NewSpace(t))
	tab := NewTable(unix.NFPROTO_IPV6, "mine", "", false)
	data := tab.NewSet(SetSpec{Name: "data", Key: []Field{tab.DestinationField()}, Data: []Field{PortField()}})
	verdicts := tab.NewSet(SetSpec{Name: "verdicts", Key: []Field{tab.DestinationField()}, Verdicts: true})
	key := func(i int) []byte {
		return append(binary.BigEndian.AppendUint32([]byte{0xfd}, uint32(i)), make([]byte, 11)...)
	}
	b := NewBatch()
	b.AddTable(tab)
	b.AddSet(data)
	b.AddSet(verdicts)
	b.AddChain(tab.NewChain("next", nil))
	for i := range many {
		b.Add(data).Data(key(i), []byte{0, 80, 0, 0})
	}
	b.Add(verdicts).Verdict(key(1), VerdictGoto("next"))
	b.Add(verdicts).Verdict(key(2), VerdictDrop())
	if err := c.Commit(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	b = NewBatch()
	b.Add(data).Data(key(3), []byte{0, 81, 0, 0}) // deletions come first
	b.Delete(data).Key(key(3))
	b.Delete(data).Key(key(4))
	if err := c.Commit(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	read := func(s *Set) (out []string) {
		t.Helper()
		err := ReadElements(t.Context(), c, s, func() { out = nil }, func(e Element) {
			out = append(out, fmt.Sprintf("%x %x %v %v", e.Key[:5], e.Data(), e.Verdict(), e.CatchAll))
		})
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(out)
		return out
	}
	all := read(data)
	if want := []string{"fd00000002 00500000 {0 } false", "fd00000003 00510000 {0 } false", "fd00000005 00500000 {0 } false"}; len(all) != many-1 || !cmp.Equal(want, all[2:5]) {
		t.Errorf("%d elements, of them %q", len(all), all[:min(len(all), 6)])
	}
	if diff := cmp.Diff([]string{"fd00000001  {-4 next} false", "fd00000002  {0 } false"}, read(verdicts)); diff != "" {
		t.Errorf("verdicts (-want +got):\n%s", diff)
	}
}

// TestCatchAll reads the element that matches every key.
func TestCatchAll(t *testing.T) {
	c := dial(t, netnstest.NewSpace(t))
	tab := NewTable(unix.NFPROTO_IPV4, "mine", "", false)
	set := tab.NewSet(SetSpec{Name: "addresses", Key: []Field{tab.DestinationField()}})
	b := NewBatch()
	b.AddTable(tab)
	b.AddSet(set)
	b.Add(set).CatchAll()
	b.Add(set).Key([]byte{192, 0, 2, 1})
	if err := c.Commit(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	got := map[bool]int{}
	if err := ReadElements(t.Context(), c, set, func() { clear(got) }, func(e Element) { got[e.CatchAll]++ }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[bool]int{true: 1, false: 1}, got); diff != "" {
		t.Errorf("elements by whether they match every key (-want +got):\n%s", diff)
	}
}

// TestAnyChange checks which notifications are shown, and as what.
func TestAnyChange(t *testing.T) {
	const own, other = 17, 18
	note := func(kind int, port uint32, table string) []byte {
		var w netlink.Buffer
		start := w.Begin(kind, unix.NFPROTO_IPV4, 0)
		binary.NativeEndian.PutUint32(w.B[start+12:], port)
		w.Text(unix.NFTA_TABLE_NAME, table)
		w.End(start)
		return w.B
	}
	const nftables = unix.NFNL_SUBSYS_NFTABLES << 8
	rule, element := nftables|unix.NFT_MSG_NEWRULE, nftables|unix.NFT_MSG_DELSETELEM
	first, second := note(rule, own, "mine"), note(element, other, "theirs")
	for name, tc := range map[string]struct {
		b    []byte
		want []Change
		any  bool // though none concerns
	}{
		"nothing": {nil, nil, false},
		"two": {slices.Concat(first, second), []Change{
			{unix.NFT_MSG_NEWRULE, own, true, "mine", first}, {unix.NFT_MSG_DELSETELEM, other, false, "theirs", second}}, false},
		"of the kernel itself": {note(rule, 0, "mine"), []Change{{unix.NFT_MSG_NEWRULE, 0, false, "mine", note(rule, 0, "mine")}}, false},
		"a new generation":     {slices.Concat(note(nftables|unix.NFT_MSG_NEWGEN, own, "xxxx"), second), []Change{{unix.NFT_MSG_DELSETELEM, other, false, "theirs", second}}, false},
		"another subsystem":    {note(unix.NFNL_SUBSYS_CTNETLINK<<8|unix.NFT_MSG_NEWRULE, other, "mine"), nil, false},
		"truncated":            {slices.Concat(first, second[:len(second)-1]), []Change{{unix.NFT_MSG_NEWRULE, own, true, "mine", first}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			var got []Change
			found := AnyChange(tc.b, own, func(c Change) bool { got = append(got, c); return false })
			if diff := cmp.Diff(tc.want, got); diff != "" || found != tc.any {
				t.Errorf("a change: %v; shown (-want +got):\n%s", found, diff)
			}
			if len(tc.want) > 0 && !AnyChange(tc.b, own, func(c Change) bool { return c.Table == tc.want[len(tc.want)-1].Table }) {
				t.Error("the last one concerns, and is no change")
			}
		})
	}
}

// TestIsNoFamily distinguishes a kernel without a family from other failures.
func TestIsNoFamily(t *testing.T) {
	for err, want := range map[error]bool{
		unix.EOPNOTSUPP: true, unix.EAFNOSUPPORT: true, fmt.Errorf("add ip6 mine: %w", unix.EAFNOSUPPORT): true,
		unix.ENOENT: false, unix.EPERM: false, unix.EPROTONOSUPPORT: false, errors.New("closed"): false,
	} {
		if got := IsNoFamily(err); got != want {
			t.Errorf("%v: %v", err, got)
		}
	}
}
