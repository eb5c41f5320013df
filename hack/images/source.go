// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// source is what the images are made of. The same source gives the same digests.
type source struct {
	dir      string // the checkout
	version  string // such as v0.1.0
	revision string // the commit; empty if it is unknown
	modified bool   // files differ from the commit
	time     time.Time
}

// checkout describes the checkout in a directory. SOURCE_DATE_EPOCH takes the place of the
// commit's time, and is needed where there is no git.
func checkout(ctx context.Context, dir, version string) (source, error) {
	s := source{dir: dir, version: version}
	epoch := os.Getenv("SOURCE_DATE_EPOCH")
	commit, err := git(ctx, dir, "log", "-1", "--format=%ct %H")
	if err == nil {
		seconds, revision, _ := strings.Cut(commit, " ")
		s.revision = revision
		if epoch == "" {
			epoch = seconds
		}
		changed, err := git(ctx, dir, "status", "--porcelain")
		if err != nil {
			return s, err
		}
		s.modified = changed != ""
	}
	seconds, parsed := strconv.ParseInt(epoch, 10, 64)
	if parsed != nil {
		return s, fmt.Errorf("the time of the sources is unknown: set SOURCE_DATE_EPOCH, or build in a git checkout: %w", err)
	}
	s.time = time.Unix(seconds, 0).UTC()
	return s, nil
}

func git(ctx context.Context, dir string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...).Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w", args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}
