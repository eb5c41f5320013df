// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package netlink

import (
	"context"
	"testing"
)

func TestHasFamily(t *testing.T) {
	for name, want := range map[string]bool{"nlctrl": true, "no such family": false} {
		t.Run(name, func(t *testing.T) {
			if has, err := HasFamily(t.Context(), name); err != nil || has != want {
				t.Errorf("got %v, error %v; want %v", has, err, want)
			}
		})
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if has, err := HasFamily(ended, "nlctrl"); err == nil || has {
		t.Errorf("after the end of its context: got %v, error %v", has, err)
	}
}
