// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"strings"
	"testing"

	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
)

// Tables that do nothing are removed, in both families; others stay as they are.
func TestRemoveIdleTables(t *testing.T) {
	const base = "chain POSTROUTING { type nat hook postrouting priority 100; policy accept; }; "
	for name, c := range map[string]struct {
		content string
		stays   bool
	}{
		"base chains":                {base + "chain OUTPUT { type nat hook output priority -100; policy accept; }", false},
		"nothing at all":             {"", false},
		"a rule":                     {base + "chain OUTPUT { type nat hook output priority -100; policy accept; counter; }", true},
		"a policy":                   {base + "chain OUTPUT { type nat hook output priority -100; policy drop; }", true},
		"a chain of another program": {base + "chain KUBE-KUBELET-CANARY { }", true},
		"a set of another program":   {base + "set s { type ipv4_addr; }", true},
	} {
		t.Run(name, func(t *testing.T) {
			s := netnstest.NewSpace(t)
			for _, family := range []string{"ip", "ip6"} {
				content := strings.ReplaceAll(c.content, "ipv4", map[string]string{"ip": "ipv4", "ip6": "ipv6"}[family])
				script := "table " + family + " nat { " + content + " }\ntable " + family + " others { " + base + " }\n"
				script = strings.NewReplacer("{ ", "{\n", " }", "\n}", "; ", "\n").Replace(script)
				if out, err := s.Try(script, "nft", "-f", "-"); err != nil {
					t.Fatal(out)
				}
			}
			before := s.Run("nft", "list", "ruleset")
			if err := dial(t, s).RemoveIdleTables(t.Context(), "nat", "filter"); err != nil {
				t.Fatal(err)
			}
			after := s.Run("nft", "list", "ruleset")
			if c.stays && after != before {
				t.Errorf("got %s, want what was there before: %s", after, before)
			}
			if !c.stays && (strings.Contains(after, "nat {") || strings.Count(after, "others") != 2) {
				t.Errorf("got %s, want the tables nat to be gone and no others", after)
			}
		})
	}
}
