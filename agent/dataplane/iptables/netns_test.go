// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/go-logr/logr/testr"
	"github.com/vishvananda/netns"

	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
	"github.com/fairlead-proxy/fairlead/agent/sysctl"
)

// space is a network namespace of a test, in which a variant of iptables is used.
type space struct {
	t       testing.TB
	handle  netns.NsHandle
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
	t.Setenv("XTABLES_LOCKFILE", filepath.Join(t.TempDir(), "lock")) // nobody else's rules are concerned
	s := &space{t: t, handle: netnstest.New(t), variant: variant}
	s.run("ip", "link", "set", "lo", "up")
	s.run("iptables-"+variant, "-t", "mangle", "-N", "KUBE-IPTABLES-HINT")
	return s
}

// try runs a command inside the namespace.
func (s *space) try(stdin string, args ...string) (string, error) {
	s.t.Helper()
	var out []byte
	var failed error
	netnstest.Do(s.t, s.handle, func() error {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Stdin = strings.NewReader(stdin)
		out, failed = cmd.CombinedOutput()
		return nil
	})
	return string(out), failed
}

func (s *space) run(args ...string) string {
	s.t.Helper()
	out, err := s.try("", args...)
	if err != nil {
		s.t.Fatalf("%s: %v: %s", strings.Join(args, " "), err, out)
	}
	return out
}

// iptables runs the program of the variant.
func (s *space) iptables(args ...string) string {
	s.t.Helper()
	return s.run(append([]string{"iptables-" + s.variant, "-w", "5"}, args...)...)
}

// constant is what iptables-save prints of a table without rules, and the counters.
var constant = regexp.MustCompile(`(?m)^(#.*|COMMIT|\*.*|:[A-Z]+ ACCEPT .*)\n|\[\d+:\d+\]`)

// state is all chains and rules of both families and variants. What is not counted is
// that there is a table without any: it is there for good once a legacy table has
// been asked for.
func (s *space) state() string {
	s.t.Helper()
	var out string
	for _, family := range []string{"iptables", "ip6tables"} {
		for _, variant := range []string{variantLegacy, variantNFT} {
			out += family + " " + variant + ":\n" + constant.ReplaceAllString(s.run(family+"-"+variant+"-save"), "")
		}
	}
	return out
}

// Get returns a sysctl of the namespace.
func (s *space) Get(name string) (value string, err error) {
	netnstest.Do(s.t, s.handle, func() error {
		value, err = sysctl.Tree{}.Get(name)
		return nil
	})
	return value, err
}

// Set sets a sysctl of the namespace.
func (s *space) Set(name, value string) (err error) {
	netnstest.Do(s.t, s.handle, func() error {
		err = sysctl.Tree{}.Set(name, value)
		return nil
	})
	return err
}

// dataplane returns a Dataplane for the namespace.
func (s *space) dataplane() *Dataplane {
	s.t.Helper()
	d, err := New(Options{NetNS: int(s.handle), Log: testr.NewWithInterface(s.t, testr.Options{}), Sysctls: s})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := d.Close(); err != nil {
			s.t.Error(err)
		}
	})
	return d
}
