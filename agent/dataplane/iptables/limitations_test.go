// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead-proxy/fairlead/agent/internal/desiredtest"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

func TestAffinityLimit(t *testing.T) {
	for name, tc := range map[string]struct {
		seconds int32
		limit   string // of the kernel; empty: it says none
		want    string
	}{
		"no affinity":        {0, "100", ""},
		"the usual limit":    {60, "100", "limited to 100 clients of each endpoint"},
		"enough":             {60, "10000", ""},
		"it is not known":    {60, "", "is not known: open"},
		"it is not a number": {60, "many", "invalid syntax"},
	} {
		t.Run(name, func(t *testing.T) {
			d, want := inMemory(t, newMemory()), model.NewDesired()
			d.listLength = filepath.Join(t.TempDir(), "ip_list_tot")
			if tc.limit != "" {
				if err := os.WriteFile(d.listLength, []byte(tc.limit+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			mustSync(t, d, want)
			sticky := want.Clone()
			put(&sticky, "web", "10.96.0.1:80/tcp", forwardTo(model.MasqueradeNever, "10.0.0.1:80")).AffinityTimeoutSeconds = tc.seconds
			got := desiredtest.Unsupported(mustApply(t, d, model.Diff(want, sticky)))
			if (got != "") != (tc.want != "") || !strings.Contains(got, tc.want) {
				t.Errorf("got %v, want %q", got, tc.want)
			}
			if got := mustApply(t, d, model.Diff(sticky, want)).Unsupported; got != nil {
				t.Errorf("after that: %v", got)
			}
		})
	}
}
