// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nattable

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A mode leaves a table alone that another mode has put in place of its own.
func TestCleanupLeavesOthersTable(t *testing.T) {
	s := newSpace(t)
	balancer, classifier := s.dataplane(), s.tables(Mark())
	wantTables := func(want string) {
		t.Helper()
		if diff := cmp.Diff(want, s.Run("nft", "list", "tables")); diff != "" {
			t.Fatalf("tables (-want +got):\n%s", diff)
		}
	}
	const both = "table ip fairlead\ntable ip6 fairlead\n"
	mustSync(t, balancer, mixed())
	mustSync(t, classifier, mixed())
	if err := balancer.Cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantTables(both)
	mustSync(t, balancer, mixed())
	if err := classifier.Cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantTables(both)
	if err := balancer.Cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantTables("")
}
