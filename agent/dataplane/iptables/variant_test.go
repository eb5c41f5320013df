// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestSomePrograms checks nodes that lack some of the programs, or have them under
// their plain names only.
func TestSomePrograms(t *testing.T) {
	both := []string{"iptables%s-restore", "iptables%s-save", "ip6tables%s-restore", "ip6tables%s-save"}
	for name, tc := range map[string]struct {
		program string // that the names stand for
		infix   string
		names   []string
		want    string // variant; empty: none
		noIPv6  bool
	}{
		"legacy only":      {"xtables-legacy-multi", "-legacy", both, variantLegacy, false},
		"nft only":         {"xtables-nft-multi", "-nft", both, variantNFT, false},
		"plain, of nft":    {"xtables-nft-multi", "", both, variantNFT, false},
		"plain, of legacy": {"xtables-legacy-multi", "", both, variantLegacy, false},
		"no IPv6":          {"xtables-nft-multi", "-nft", both[:2], variantNFT, true},
		"only to write":    {"xtables-nft-multi", "-nft", both[:1], "", false},
		"nothing":          {"xtables-nft-multi", "-nft", nil, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSpace(t, variantNFT)
			dir := t.TempDir()
			program, err := exec.LookPath(tc.program)
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range tc.names {
				if err := os.Symlink(program, filepath.Join(dir, strings.Replace(n, "%s", tc.infix, 1))); err != nil {
					t.Fatal(err)
				}
			}
			before := folders
			t.Cleanup(func() { folders = before })
			folders = nil
			path := os.Getenv("PATH")
			t.Setenv("PATH", dir)
			d := s.dataplane()
			if tc.want == "" {
				if _, err := d.Probe(t.Context(), nil); !errors.Is(err, errNoTools) {
					t.Errorf("Probe: %v", err)
				}
			} else {
				mustSync(t, d, mixed())
				if got, _, _ := strings.Cut(d.variant, ","); got != tc.want {
					t.Errorf("variant %s, want %s", d.variant, tc.want)
				}
			}
			if got := errors.Is(d.noIPv6, errNoIPv6); got != tc.noIPv6 {
				t.Errorf("IPv6: %v", d.noIPv6)
			}
			if err := d.Cleanup(t.Context()); err != nil {
				t.Errorf("Cleanup: %v", err)
			}
			t.Setenv("PATH", path)
			if state := s.state(); strings.Contains(state, prefix) {
				t.Errorf("left:\n%s", state)
			}
		})
	}
}
