// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"slices"
	"testing"
)

func TestPartCount(t *testing.T) {
	for name, c := range map[string]struct {
		endpoints int
		current   int32
		want      int32
	}{
		"none":                          {0, 0, 1},
		"few":                           {200, 0, 1},
		"above the limit":               {201, 0, 2},
		"at the limit of two":           {400, 0, 2},
		"a thousand":                    {1000, 0, 8},
		"a hundred thousand":            {100_000, 0, 512},
		"more than all parts hold":      {20_000_000, 0, 65536},
		"stays split at the limit":      {200, 2, 2},
		"stays split a little below":    {160, 2, 2},
		"merged well below":             {159, 2, 1},
		"merged twice":                  {300, 8, 2},
		"merged down to one":            {0, 1024, 1},
		"grows from what is there":      {401, 2, 4},
		"grows twice":                   {1601, 4, 16},
		"a number that is no power":     {1000, 3, 8},
		"a negative number":             {10, -2, 1},
		"a number above the maximum":    {10, 1 << 20, 1},
		"the maximum stays":             {80 * 65536, 65536, 65536},
		"one where none would do":       {10, 1, 1},
		"not merged where it fills one": {80 * 4, 4, 4},
	} {
		t.Run(name, func(t *testing.T) {
			if got := partCount(c.endpoints, c.current); got != c.want {
				t.Errorf("got %d parts, want %d", got, c.want)
			}
		})
	}
}

// The number of parts does not change while the endpoints do not, whatever it was before:
// compile.Service does not flap.
func TestPartCountIsStable(t *testing.T) {
	for n := range 3000 {
		for current := int32(0); current <= 64; current++ {
			chosen := partCount(n, current)
			if again := partCount(n, chosen); again != chosen {
				t.Fatalf("%d endpoints: %d parts become %d, then %d", n, current, chosen, again)
			}
		}
	}
}

// The hash must spread the neighbouring addresses of a cluster over all parts.
func TestPartsAreBalanced(t *testing.T) {
	for name, format := range map[string]string{"IPv4": "10.1.%d.%d", "IPv6": "fd00:10::%x:%x"} {
		t.Run(name, func(t *testing.T) {
			const n, parts = 10_000, 64
			var count [parts]int
			for i := range n {
				count[partOf(fmt.Sprintf(format, i/256, i%256), parts)]++
			}
			if low, high := slices.Min(count[:]), slices.Max(count[:]); low < n/parts/2 || high > n/parts*2 {
				t.Errorf("between %d and %d endpoints in a part", low, high)
			}
		})
	}
}

// TestPartsOfAddresses checks that an update of the controller leaves each endpoint in its part: else the
// slices of all Services are written.
func TestPartsOfAddresses(t *testing.T) {
	for address, want := range map[string]int32{"10.0.0.1": 6256, "10.244.255.254": 27447, "fd00:10::1": 48536} {
		if got := partOf(address, 1<<16); got != want {
			t.Errorf("%s is in part %d of 65536, was in %d", address, got, want)
		}
	}
}
