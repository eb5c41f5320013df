// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package netdev

import (
	"net/netip"
	"testing"
)

func TestSource(t *testing.T) {
	set := func(list ...string) map[netip.Addr]struct{} {
		out := map[netip.Addr]struct{}{}
		for _, a := range list {
			out[netip.MustParseAddr(a)] = struct{}{}
		}
		return out
	}
	own := set("127.0.0.1", "::1", "169.254.1.1", "10.244.0.1", "192.168.0.2", "fd00::2")
	for name, c := range map[string]struct {
		own, preferred map[netip.Addr]struct{}
		want           string
	}{
		"the preferred one":                  {own, set("192.168.0.2"), "192.168.0.2"},
		"the first of its own":               {own, nil, "10.244.0.1"},
		"a preferred one that it has not":    {own, set("10.0.0.1"), "10.244.0.1"},
		"preferred ones that cannot be used": {own, set("127.0.0.1", "fd00::2"), "10.244.0.1"},
		"none":                               {set("127.0.0.1", "169.254.1.1", "fd00::2"), set("127.0.0.1"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := Source(c.own, c.preferred)
			if got.IsValid() != (c.want != "") || got.IsValid() && got.String() != c.want {
				t.Errorf("%v, want %q", got, c.want)
			}
		})
	}
}
