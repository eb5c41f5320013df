// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"fmt"
	"os/exec"
	"sync"
	"testing"

	"github.com/fairlead-proxy/fairlead/agent/internal/desiredtest"
	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// A socket that is closed leaves its place at once, also while the process starts programs:
// until execve a child has a copy of each descriptor.
func TestPlacesAreFreeWhileProgramsStart(t *testing.T) {
	node := netnstest.New(t)
	var frontends []*model.Frontend
	for i := range 20 {
		for _, p := range []model.Protocol{model.TCP, model.UDP} {
			frontends = append(frontends, leading(fmt.Sprintf("10.96.0.%d:80", i+1), p, "10.244.1.2:8080"))
		}
	}
	var started sync.WaitGroup
	stop := make(chan struct{})
	for range 3 {
		started.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := exec.Command("true").Run(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	defer started.Wait()
	defer close(stop)
	for i := range 40 {
		d, err := New(Options{NetNS: int(node)})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			desiredtest.Sync(t, d, desired())
			if text := desiredtest.Unsupported(desiredtest.Sync(t, d, desired(frontends...))); text != "" {
				t.Fatalf("round %d: %s", i, text)
			}
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
