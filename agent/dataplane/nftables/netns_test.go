// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/go-logr/logr/testr"
	"github.com/vishvananda/netns"

	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"

	"github.com/fairlead-proxy/fairlead/agent/sysctl"
)

// space is a network namespace of a test.
type space struct {
	t      testing.TB
	handle netns.NsHandle
}

// newSpace makes an empty network namespace with its loopback up; it ends with
// the test.
func newSpace(t testing.TB) *space {
	t.Helper()
	s := &space{t: t, handle: netnstest.New(t)}
	s.run("ip", "link", "set", "lo", "up")
	return s
}

// do runs f inside the namespace.
func (s *space) do(f func() error) {
	s.t.Helper()
	netnstest.Do(s.t, s.handle, f)
}

// try runs a command inside the namespace.
func (s *space) try(stdin string, args ...string) (string, error) {
	s.t.Helper()
	var out []byte
	var failed error
	s.do(func() error {
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

// Get returns a sysctl of the namespace.
func (s *space) Get(name string) (value string, err error) {
	s.do(func() error {
		value, err = sysctl.Tree{}.Get(name)
		return nil
	})
	return value, err
}

// Set sets a sysctl of the namespace.
func (s *space) Set(name, value string) (err error) {
	s.do(func() error {
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
