// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
)

// TestRepairGuard checks that a Sync finds and counts changes by others to the guard of
// the loopback.
func TestRepairGuard(t *testing.T) {
	for name, script := range map[string]string{
		"no guard of localhost": "delete table ip fairlead-localhost",
		"guard opened":          "flush chain ip fairlead-localhost prerouting",
		"guard passed by":       "insert rule ip fairlead-localhost prerouting accept",
		"chain in the guard":    "add chain ip fairlead-localhost mine",
		"foreign guard":         `delete table ip fairlead-localhost; add table ip fairlead-localhost { comment "mine"; }`,
		"flush ruleset":         "flush ruleset",
	} {
		t.Run(name, func(t *testing.T) {
			s := newSpace(t)
			d := s.dataplane()
			mustSync(t, d, mixed())
			want := s.Run("nft", "list", "table", "ip", "fairlead-localhost")
			if out, err := s.Try(strings.ReplaceAll(script, "; ", "\n"), "nft", "-f", "-"); err != nil {
				t.Fatal(err, out)
			}
			result := mustSync(t, d, mixed())
			if result.Operations == 0 || result.Repaired != result.Operations {
				t.Errorf("%+v", result)
			}
			got := s.Run("nft", "list", "table", "ip", "fairlead-localhost")
			// A guard that is added again finds a sysctl on that was off before.
			if diff := cmp.Diff(rulesOf(want), rulesOf(got)); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(dataplane.Result{}, mustSync(t, d, mixed())); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// rulesOf leaves out the comment of a listed table.
func rulesOf(table string) string {
	_, rules, _ := strings.Cut(table, "\n\tchain")
	return rules
}

// TestListGuard checks that the nft program prints the guard readably.
func TestListGuard(t *testing.T) {
	s := newSpace(t)
	mustSync(t, s.dataplane(), mixed())
	out := s.Run("nft", "list", "ruleset")
	for _, line := range []string{
		`type filter hook prerouting priority raw; policy accept;`,
		`iif != "lo" ip daddr 127.0.0.0/8 drop comment "drop martian loopback destination"`,
		`iif != "lo" ip saddr 127.0.0.0/8 drop comment "drop martian loopback source"`,
		`oif != "lo" ip saddr 127.0.0.0/8 ct status dnat masquerade fully-random`,
	} {
		if !strings.Contains(out, line) {
			t.Errorf("not listed: %s", line)
		}
	}
}

// TestGuardIsOurs checks that commits of the guard do not count as those of others.
func TestGuardIsOurs(t *testing.T) {
	d := newSpace(t).dataplane()
	without := mixed()
	without.Node.NodePortLocalhost = false
	mustSync(t, d, without)
	for range 2 {
		result, err := d.Sync(t.Context(), mixed(), nil)
		if err != nil || result.Reading != 0 || result.Repaired != 0 {
			t.Errorf("%+v %v: it has read", result, err)
		}
	}
}

// TestCleanupOfAll checks that the guard goes with the tables.
func TestCleanupOfAll(t *testing.T) {
	s := newSpace(t)
	d := s.dataplane()
	mustSync(t, d, mixed())
	if err := d.Cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("", s.Run("nft", "list", "tables")); diff != "" {
		t.Errorf("tables (-want +got):\n%s", diff)
	}
}
