// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package netnstest makes network namespaces for tests.
package netnstest

import (
	"runtime"
	"testing"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// New makes an empty network namespace, which ends with the test. It skips the test
// without the privilege for that.
func New(t testing.TB) (space netns.NsHandle) {
	t.Helper()
	if unix.Geteuid() != 0 {
		t.Skip("needs root/CAP_NET_ADMIN")
	}
	onThread(t, func() (err error) {
		space, err = netns.New()
		return err
	})
	t.Cleanup(func() { space.Close() })
	return space
}

// Do runs f inside a namespace, on a thread of its own.
func Do(t testing.TB, space netns.NsHandle, f func() error) {
	t.Helper()
	onThread(t, func() error {
		if err := netns.Set(space); err != nil {
			return err
		}
		return f()
	})
}

// onThread runs f on a separate thread, which returns to the test's network namespace.
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
			runtime.LockOSThread() // never unlocked: the thread exits here
			err = back
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
