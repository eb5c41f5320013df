// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nattable

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

func TestMalformedAffinity(t *testing.T) {
	for name, shared := range map[string]string{"another family": "[fd00::1]:80/tcp", "another protocol": "10.96.0.1:80/udp"} {
		t.Run(name, func(t *testing.T) {
			d, desired := newSpace(t).dataplane(), several(1, 1)
			stick(&desired, "10.96.0.1:80/tcp", shared, 1)
			if _, err := d.Sync(t.Context(), desired); err == nil || !strings.Contains(err.Error(), "cannot share") {
				t.Error(err)
			}
		})
	}
}

// TestAffinityOperations checks that a changed endpoint costs the same in any
// table: an element in each of two maps, deleted and added.
func TestAffinityOperations(t *testing.T) {
	const key = "10.96.0.1:80/tcp"
	for _, size := range []int{10, 1000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			d, before, after := newSpace(t).dataplane(), several(size, 3), several(size, 3)
			put(&after, key, clusterIP("10.1.1.1:80", "10.129.0.1:8080", "10.130.0.1:8080"))
			for _, desired := range []model.Desired{before, after} {
				for _, k := range slices.Collect(keys(desired)) {
					stick(&desired, k.String(), "", 10800)
				}
			}
			mustSync(t, d, before)
			chains := len(d.content[d.layouts[0]].chains)
			if stats := mustApply(t, d, model.Diff(before, after)); stats.Operations != 4 || chains != 1 {
				t.Errorf("%d operations, want 4; %d chains, want 1", stats.Operations, chains)
			}
			if stats := mustSync(t, d, after); stats.Operations != 0 {
				t.Errorf("Sync then: %+v", stats)
			}
		})
	}
}
