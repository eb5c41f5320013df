// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nattable

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// TestAssign checks that endpoints keep their numbers, whatever was there.
func TestAssign(t *testing.T) {
	list := func(text string) (out []model.Endpoint) {
		for _, c := range text {
			var e model.Endpoint // '-': missing
			if c != '-' {
				e = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, 1, byte(c)}), 80)
			}
			out = append(out, e)
		}
		return out
	}
	for name, c := range map[string]struct{ old, wanted, want string }{
		"none before":        {"", "abc", "abc"},
		"none after":         {"abc", "", ""},
		"the same":           {"abc", "abc", "abc"},
		"one more":           {"abd", "abcd", "abdc"},
		"one less":           {"abc", "bc", "cb"},
		"one replaced":       {"abc", "bcd", "dbc"},
		"in disorder":        {"cabd", "abce", "cabe"},
		"one is missing":     {"a-c", "abc", "abc"},
		"one is there twice": {"aacb", "abcd", "adcb"},
		"wanted in disorder": {"abc", "cda", "adc"},
		"all others":         {"abc", "def", "def"},
	} {
		if got := assign(list(c.old), list(c.wanted)); !slices.Equal(got, list(c.want)) {
			t.Errorf("%s: got %v, want %v", name, got, list(c.want))
		}
	}
}
