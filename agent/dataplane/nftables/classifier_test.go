// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"net/netip"
	"testing"

	"github.com/go-logr/logr/testr"
	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

func (s *space) classifier() *Classifier {
	s.T.Helper()
	none := func() ([]netip.Addr, error) { return nil, nil }
	c, err := NewClassifier(Options{NetNS: int(s.Handle), Log: testr.NewWithInterface(s.T, testr.Options{})}, none)
	if err != nil {
		s.T.Fatal(err)
	}
	s.T.Cleanup(func() {
		if err := c.Close(); err != nil {
			s.T.Error(err)
		}
	})
	return c
}

func mustCommit(t *testing.T, c *Classifier, desired model.Desired) Planned {
	t.Helper()
	planned, err := c.Plan(t.Context(), desired)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	return planned
}

// A mode leaves the table alone that another one has put in the place of its own.
func TestCleanupLeavesOthersTable(t *testing.T) {
	s := newSpace(t)
	balancer, classifier := s.dataplane(), s.classifier()
	wantTables := func(want string) {
		t.Helper()
		if diff := cmp.Diff(want, s.Run("nft", "list", "tables")); diff != "" {
			t.Fatalf("tables (-want +got):\n%s", diff)
		}
	}
	const both = "table ip fairlead\ntable ip6 fairlead\n"
	mustSync(t, balancer, mixed())
	mustCommit(t, classifier, mixed())
	if err := balancer.Cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantTables(both)
	mustSync(t, balancer, mixed())
	if err := classifier.Cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantTables("table ip fairlead-localhost\n" + both)
	if err := balancer.Cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantTables("")
}
