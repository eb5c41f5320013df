// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nattable

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// restricted returns n load balancers' addresses with a range each.
func restricted(n int) model.Desired {
	d := several(n, 3)
	for i, key := range slices.SortedFunc(keys(d), model.FrontendKey.Compare) {
		restrict(&d, key.String(), fmt.Sprintf("100.%d.%d.0/24", i/250, i%250))
	}
	return d
}

// TestSourceOperations checks that a changed range costs the same in any table.
func TestSourceOperations(t *testing.T) {
	const key = "10.96.0.1:80/tcp"
	tests := map[string]struct {
		sources []string
		want    int
	}{
		"replaced": {[]string{"100.99.0.0/24"}, 2},
		"added":    {[]string{"100.0.0.0/24", "100.99.0.0/24"}, 1},
		"removed":  {nil, 1},
		// A set, an element, the rules anew.
		"another length": {[]string{"100.0.0.0/24", "100.99.0.0/25"}, 1 + 1 + 4},
	}
	for name, tt := range tests {
		for _, size := range []int{10, 1000} {
			t.Run(fmt.Sprintf("%s of %d", name, size), func(t *testing.T) {
				d, before, after := newSpace(t).dataplane(), restricted(size), restricted(size)
				mustSync(t, d, before)
				restrict(&after, key, tt.sources...)
				if stats := mustApply(t, d, model.Diff(before, after)); stats.Operations != tt.want {
					t.Errorf("%d operations, want %d", stats.Operations, tt.want)
				}
				if stats := mustSync(t, d, after); stats.Operations != 0 {
					t.Errorf("Sync then: %+v", stats)
				}
			})
		}
	}
}

func TestMalformedSources(t *testing.T) {
	for name, source := range map[string]netip.Prefix{
		"another family": netip.MustParsePrefix("fd00::/8"),
		"host bits":      netip.MustParsePrefix("10.0.0.1/8"),
		"invalid":        {},
	} {
		t.Run(name, func(t *testing.T) {
			d, desired := newSpace(t).dataplane(), restricted(1)
			f := desired.Frontends[at("10.96.0.1:80/tcp")]
			f.Sources = append(f.Sources, source)
			if _, err := d.Sync(t.Context(), desired); err == nil || !strings.Contains(err.Error(), "source range") {
				t.Error(err)
			}
		})
	}
}
