// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"path/filepath"
	"regexp"
	"testing"

	"github.com/go-logr/logr/testr"

	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
)

// space is a network namespace of a test, in which a variant of iptables is used.
type space struct {
	*netnstest.Space
	variant string
}

// onBoth runs a test with each variant, in a namespace with its loopback up.
func onBoth(t *testing.T, test func(t *testing.T, s *space)) {
	for _, variant := range []string{variantLegacy, variantNFT} {
		t.Run(variant, func(t *testing.T) { test(t, newSpace(t, variant)) })
	}
}

func newSpace(t testing.TB, variant string) *space {
	t.Helper()
	t.Setenv("XTABLES_LOCKFILE", filepath.Join(t.TempDir(), "lock")) // independent of the host's lock
	s := &space{netnstest.NewSpace(t), variant}
	s.Run("iptables-"+variant, "-t", "mangle", "-N", "KUBE-IPTABLES-HINT")
	return s
}

// iptables runs the program of the variant.
func (s *space) iptables(args ...string) string {
	s.T.Helper()
	return s.Run(append([]string{"iptables-" + s.variant, "-w", "5"}, args...)...)
}

// constant matches what iptables-save prints for a table without rules, and counters.
var constant = regexp.MustCompile(`(?m)^(#.*|COMMIT|\*.*|:[A-Z]+ ACCEPT .*)\n|\[\d+:\d+\]`)

// state returns all chains and rules of both families and variants. Empty tables are left
// out: a legacy table stays once it has been listed.
func (s *space) state() string {
	s.T.Helper()
	var out string
	for _, family := range []string{"iptables", "ip6tables"} {
		for _, variant := range []string{variantLegacy, variantNFT} {
			out += family + " " + variant + ":\n" + constant.ReplaceAllString(s.Run(family+"-"+variant+"-save"), "")
		}
	}
	return out
}

// dataplane returns a Dataplane for the namespace.
func (s *space) dataplane() *Dataplane {
	s.T.Helper()
	d, err := New(Options{NetNS: int(s.Handle), Log: testr.NewWithInterface(s.T, testr.Options{}), Sysctls: s})
	if err != nil {
		s.T.Fatal(err)
	}
	s.T.Cleanup(func() {
		if err := d.Close(); err != nil {
			s.T.Error(err)
		}
	})
	return d
}
