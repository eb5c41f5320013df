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

// TestVariantFails has a program of the variant in use fail some times: the node does not
// use the other variant because of one failure, but it does if that one never works.
func TestVariantFails(t *testing.T) {
	for name, tc := range map[string]struct {
		program string
		status  string
		times   int
		want    string // variant
		errs    int
	}{
		"cannot list once":  {"iptables-nft-save", "exit 4", 1, variantNFT, 1},
		"cannot list twice": {"iptables-nft-save", "exit 4", 2, variantNFT, 2},
		"can never list":    {"iptables-nft-save", "exit 4", 3, variantLegacy, 2},
		"cannot check once": {"iptables-nft-restore", `[ "$1" = --version ] || exit 4`, 1, variantNFT, 1},
		"can never check":   {"iptables-nft-restore", `[ "$1" = --version ] || exit 4`, 3, variantLegacy, 2},
		"is killed once":    {"iptables-nft-restore", "kill -9 $$", 1, variantNFT, 1},
		"does not run, but the one with the plain name": {"iptables-nft-restore", "exit 127", 1, variantNFT, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSpace(t, variantNFT)
			dir := t.TempDir()
			left := filepath.Join(dir, "left")
			if err := os.WriteFile(left, []byte(strings.Repeat("x", tc.times)), 0o600); err != nil {
				t.Fatal(err)
			}
			real, err := exec.LookPath(tc.program)
			if err != nil {
				t.Fatal(err)
			}
			script := fmt.Sprintf("#!/bin/sh\nexport PATH=%s\nif [ -s %[2]s ]; then { %[3]s; } && exec %[4]s \"$@\"; fi\nexec %[4]s \"$@\"\n",
				os.Getenv("PATH"), left, tc.status, real)
			if err := os.WriteFile(filepath.Join(dir, tc.program), []byte(script), 0o700); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
			d := s.dataplane()
			errs := 0
			for range tc.times {
				if _, err := d.Probe(t.Context(), nil); err != nil {
					errs++
				}
			}
			if err := os.Truncate(left, 0); err != nil {
				t.Fatal(err)
			}
			if errs == tc.errs && d.kernel == nil {
				if _, err := d.Probe(t.Context(), nil); err != nil {
					t.Fatal(err)
				}
			}
			if got, _, _ := strings.Cut(d.variant, ","); got != tc.want || errs != tc.errs {
				t.Errorf("variant %s after %d errors, want %s after %d", got, errs, tc.want, tc.errs)
			}
		})
	}
}
