// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/go-logr/logr/testr"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

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
	if unix.Geteuid() != 0 {
		t.Skip("needs root/CAP_NET_ADMIN")
	}
	s := &space{t: t}
	onThread(t, func() error {
		var err error
		s.handle, err = netns.New()
		return err
	})
	t.Cleanup(func() { s.handle.Close() })
	s.run("ip", "link", "set", "lo", "up")
	return s
}

// onThread runs f on a thread of its own, which is back in the test's namespace
// afterwards.
func onThread(t testing.TB, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		before, err := netns.Get()
		if err != nil {
			done <- err
			return
		}
		defer before.Close()
		err = f()
		if back := netns.Set(before); back != nil {
			runtime.LockOSThread() // never unlocked: the thread ends here
			err = back
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// do runs f inside the namespace.
func (s *space) do(f func() error) {
	s.t.Helper()
	onThread(s.t, func() error {
		if err := netns.Set(s.handle); err != nil {
			return err
		}
		return f()
	})
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
