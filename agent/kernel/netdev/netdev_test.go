// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package netdev

import (
	"errors"
	"net/netip"
	"runtime"
	"slices"
	"testing"

	"github.com/vishvananda/netns"

	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
)

func TestAddressesOf(t *testing.T) {
	s := netnstest.NewSpace(t)
	want := []string{"192.0.2.7", "2001:db8::7"}
	for _, a := range want {
		s.Run("ip", "address", "add", a, "dev", "lo")
	}
	got, err := AddressesOf(Namespace(int(s.Handle)))
	for _, a := range want {
		if err != nil || !slices.Contains(got, netip.MustParseAddr(a)) {
			t.Errorf("no %s: %v, %v", a, got, err)
		}
	}
}

// TestDo checks where a function runs, and that its thread comes back, also after an error.
func TestDo(t *testing.T) {
	space := netnstest.New(t)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	where := func() string {
		t.Helper()
		ns, err := netns.Get()
		if err != nil {
			t.Fatal(err)
		}
		defer ns.Close()
		return ns.UniqueId()
	}
	home, failed := where(), errors.New("failed")
	for _, want := range []error{nil, failed} {
		inside := ""
		if err := Do(int(space), func() error { inside = where(); return want }); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
		if inside != space.UniqueId() || where() != home {
			t.Errorf("it ran in %s, want %s; the thread is in %s, want %s", inside, space.UniqueId(), where(), home)
		}
	}
	if err := Do(0, func() error { return failed }); !errors.Is(err, failed) {
		t.Errorf("where it is: %v", err)
	}
}
