// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package netnstest

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/vishvananda/netns"

	"github.com/fairlead-proxy/fairlead/agent/kernel/sysctl"
)

// Space is a network namespace of a test, with its loopback up.
type Space struct {
	T      testing.TB
	Handle netns.NsHandle
}

// NewSpace makes a Space, which ends with the test.
func NewSpace(t testing.TB) *Space {
	t.Helper()
	s := &Space{T: t, Handle: New(t)}
	s.Run("ip", "link", "set", "lo", "up")
	return s
}

// Do runs f inside the namespace.
func (s *Space) Do(f func() error) {
	s.T.Helper()
	Do(s.T, s.Handle, f)
}

// Try runs a command inside the namespace, and returns what it prints.
func (s *Space) Try(stdin string, args ...string) (string, error) {
	s.T.Helper()
	var out []byte
	var failed error
	s.Do(func() error {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Stdin = strings.NewReader(stdin)
		out, failed = cmd.CombinedOutput()
		return nil
	})
	return string(out), failed
}

// Run runs a command that must not fail.
func (s *Space) Run(args ...string) string {
	s.T.Helper()
	return s.Feed("", args...)
}

// Feed runs a command with some input. It must not fail.
func (s *Space) Feed(stdin string, args ...string) string {
	s.T.Helper()
	out, err := s.Try(stdin, args...)
	if err != nil {
		s.T.Fatalf("%s: %v: %s", strings.Join(args, " "), err, out)
	}
	return out
}

// Get returns a sysctl of the namespace.
func (s *Space) Get(name string) (value string, err error) {
	s.Do(func() error {
		value, err = sysctl.Tree{}.Get(name)
		return nil
	})
	return value, err
}

// Set sets a sysctl of the namespace.
func (s *Space) Set(name, value string) (err error) {
	s.Do(func() error {
		err = sysctl.Tree{}.Set(name, value)
		return nil
	})
	return err
}
