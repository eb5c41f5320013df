// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
)

// TestSomePrograms checks nodes without some of the programs, or with plain names only.
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

// TestNoNFTables checks a kernel without nftables: the legacy variant is the only one.
func TestNoNFTables(t *testing.T) {
	s := newSpace(t, variantLegacy)
	before := dial
	t.Cleanup(func() { dial = before })
	dial = func(int) (*nft.Client, error) {
		return nil, fmt.Errorf("open a netlink socket: %w", unix.EPROTONOSUPPORT)
	}
	d := s.dataplane()
	mustSync(t, d, several(3, 2))
	if got, _, _ := strings.Cut(d.variant, ","); got != variantLegacy {
		t.Errorf("variant %s, want %s", d.variant, variantLegacy)
	}
	if !strings.Contains(s.state(), prefix) {
		t.Error("no rules are programmed")
	}
	ctx, cancel := context.WithCancel(t.Context())
	watched := make(chan error, 1)
	go func() { watched <- d.Watch(ctx, func() {}) }()
	cancel()
	if err := <-watched; err != nil {
		t.Errorf("Watch: %v", err)
	}
	if err := d.Cleanup(t.Context()); err != nil {
		t.Errorf("Cleanup: %v", err)
	}
	if state := s.state(); strings.Contains(state, prefix) {
		t.Errorf("left:\n%s", state)
	}
}
