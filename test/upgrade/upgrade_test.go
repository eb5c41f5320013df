// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package upgrade

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/fairlead-proxy/fairlead/test/lab/labtest"
)

// TestUpgrade installs the previous release, and then, while every node, a Pod and a client outside connect to Services in both
// families, upgrades to this release, goes back, upgrades again, uninstalls it and installs it anew. No connection may fail,
// and none that is open may end.
func TestUpgrade(t *testing.T) {
	began := time.Now()
	previous.install(t)
	a := newArena(t)
	for _, step := range []struct {
		name string
		do   func(t *testing.T)
		// replicas are the endpoints from then on; 0: no agent runs that could follow.
		replicas int
	}{
		{"previous release", func(*testing.T) {}, 3},
		{"upgrade", current.replace, 2},
		{"downgrade", previous.replace, 3},
		{"upgrade again", current.replace, 2},
		{"uninstall", uninstall, 0},
		{"install", func(t *testing.T) {
			// The lab's own: it went with the namespace.
			kubectl(t, "apply", "-f", filepath.Join(labtest.Repo, "test/lab/addons/fairlead.yaml"))
			current.install(t)
		}, 3},
	} {
		ok := t.Run(step.name, func(t *testing.T) {
			a.begin()
			step.do(t)
			if step.replicas > 0 {
				a.scale(t, step.replicas)
			}
			a.end(t)
		})
		if !ok {
			return
		}
	}
	a.stop(t)
	t.Logf("%.0f s in all", time.Since(began).Seconds())
}
