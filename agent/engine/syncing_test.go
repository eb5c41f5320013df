// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/agent/dataplane/fake"
	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// Each Sync is known while it runs, also that of a mode that becomes active, and that of the
// active one after it has failed. A step by slices is none.
func TestSyncing(t *testing.T) {
	m := newTwoModes(t)
	var got []string
	on := func(name string) func(fake.Method) {
		return func(call fake.Method) {
			if call == fake.Sync || call == fake.Apply {
				got = append(got, fmt.Sprintf("%s %s: %v", name, call, !m.Syncing.Since().IsZero()))
			}
		}
	}
	m.kernel.On, m.other.On = on("old"), on("new")
	ended := func() {
		t.Helper()
		if since := m.Syncing.Since(); !since.IsZero() {
			t.Errorf("a Sync runs since %v", since)
		}
	}
	m.fromAPI(agenttest.Web("10.96.0.1", "10.244.1.2"))
	m.step(t.Context())
	ended()
	m.store.SetSlice(agenttest.WebName, agenttest.Web("10.96.0.1", "10.244.1.3"), time.Time{})
	m.step(t.Context())
	m.other.Fail(fake.Sync, errors.New("the kernel says no"))
	m.want(t, v1alpha1.ModeIPVS)
	ended()
	m.candidate.due = time.Time{}
	m.step(t.Context())
	ended()
	want := []string{"old Sync: true", "old Apply: false", "new Sync: true", "old Sync: true", "new Sync: true"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("calls, and whether a Sync runs (-want +got):\n%s", diff)
	}
}
