// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package routelocalnet

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
)

// guarded is a namespace with a guard.
func guarded(t *testing.T, resets bool) (*netnstest.Space, Table) {
	t.Helper()
	s := netnstest.NewSpace(t)
	client, err := nft.Dial(int(s.Handle))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	g := NewTable(client)
	if _, err := g.Make(t.Context(), Held{}, resets); err != nil {
		t.Fatal(err)
	}
	return s, g
}

// TestRules is what the guard has in the kernel.
func TestRules(t *testing.T) {
	s, _ := guarded(t, true)
	want := []string{
		"type filter hook prerouting priority raw; policy accept;",
		`iif != "lo" ip daddr 127.0.0.0/8 drop comment "drop martian loopback destination"`,
		`iif != "lo" ip saddr 127.0.0.0/8 drop comment "drop martian loopback source"`,
		"type nat hook postrouting priority srcnat + 1; policy accept;",
		`oif != "lo" ip saddr 127.0.0.0/8 ct status dnat masquerade fully-random`,
		`oif != "lo" ip saddr 127.0.0.0/8 drop`,
	}
	var got []string
	for line := range strings.Lines(s.Run("nft", "list", "table", "ip", TableName)) {
		line = strings.TrimSpace(line)
		if line != "" && line != "}" && !strings.HasSuffix(line, "{") && !strings.HasPrefix(line, "comment") {
			got = append(got, line)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
}

// TestRead is what is found of a guard that another program has changed, and that Make puts it
// right.
func TestRead(t *testing.T) {
	const table = "ip " + TableName
	for name, tc := range map[string]struct {
		damage string // a command of nft
		want   Held
	}{
		"as it was":         {"", Held{Exists: true, Intact: true}},
		"gone":              {"delete table " + table, Held{}},
		"a chain less":      {"delete chain " + table + " postrouting", Held{Exists: true}},
		"a chain more":      {"add chain " + table + " other", Held{Exists: true}},
		"no rules":          {"flush chain " + table + " prerouting", Held{Exists: true}},
		"no rules at all":   {"flush table " + table, Held{Exists: true}},
		"a rule more":       {"insert rule " + table + " prerouting accept", Held{Exists: true}},
		"a rule at the end": {"add rule " + table + " postrouting accept", Held{Exists: true}},
		"asleep":            {"add table " + table + " { flags dormant; }", Held{Exists: true}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, resets := range []bool{true, false} {
				s, g := guarded(t, resets)
				if tc.damage != "" {
					s.Run("nft", tc.damage)
				}
				want := tc.want
				want.Resets = resets && tc.want.Exists && name != "asleep" // its description is another one
				held, err := g.Read(t.Context())
				if diff := cmp.Diff(want, held); diff != "" || err != nil {
					t.Errorf("resets %v: %v (-want +got):\n%s", resets, err, diff)
				}
				if _, err := g.Make(t.Context(), held, resets); err != nil {
					t.Fatal(err)
				}
				held, err = g.Read(t.Context())
				if diff := cmp.Diff(Held{Exists: true, Intact: true, Resets: resets}, held); diff != "" || err != nil {
					t.Errorf("resets %v, made again: %v (-want +got):\n%s", resets, err, diff)
				}
				for range 2 {
					if err := g.Remove(t.Context(), held); err != nil {
						t.Error(err)
					}
				}
				if held, err := g.Read(t.Context()); held.Exists || err != nil {
					t.Errorf("removed: %+v, %v", held, err)
				}
			}
		})
	}
}
