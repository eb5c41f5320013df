// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestCheckout(t *testing.T) {
	dir := t.TempDir()
	inGit := func(args ...string) {
		t.Helper()
		if _, err := git(t.Context(), dir, args...); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("SOURCE_DATE_EPOCH", "")
	if s, err := checkout(t.Context(), dir, "v1"); err == nil {
		t.Errorf("without git and without a time: %+v", s)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	compare(t, dir, source{dir: dir, version: "v1", time: time.Unix(1_700_000_000, 0).UTC()})

	t.Setenv("SOURCE_DATE_EPOCH", "")
	t.Setenv("GIT_COMMITTER_DATE", "1600000000 +0000")
	inGit("init", "--quiet")
	inGit("-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "--quiet", "--allow-empty", "--message=t")
	commit, err := git(t.Context(), dir, "rev-parse", "HEAD")
	if err != nil {
		t.Fatal(err)
	}
	compare(t, dir, source{dir: dir, version: "v1", revision: commit, time: time.Unix(1_600_000_000, 0).UTC()})
	if err := os.WriteFile(filepath.Join(dir, "new"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	compare(t, dir, source{dir: dir, version: "v1", revision: commit, modified: true, time: time.Unix(1_600_000_000, 0).UTC()})
}

func compare(t *testing.T, dir string, want source) {
	t.Helper()
	got, err := checkout(t.Context(), dir, "v1")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(source{})); diff != "" {
		t.Errorf("checkout (-want +got):\n%s", diff)
	}
}
