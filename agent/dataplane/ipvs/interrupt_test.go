// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"testing"
	"time"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// TestInterrupted has a change wait while a part of IPVS is read. The Sync programs what is
// desired and asks for another at once, which goes on with the part: all of them together
// read each virtual server once.
func TestInterrupted(t *testing.T) {
	const services = 900 // a single part
	n := newNode(t)
	before := several(services)
	n.sync(before)
	clear(n.virtual[onAddress(clusterIP("10.96.0.1:80", model.TCP).Key)].reals)
	n.clock.Step(10 * time.Second)
	after := several(services)
	changed := clusterIP("10.96.1.1:80", model.TCP, "10.244.1.1:80", "10.245.1.1:80", "10.245.7.7:80")
	changed.Service.Name = "web-250"
	after.Frontends[changed.Key] = changed
	lists, reads, repaired := 0, 0, 0
	n.listing = func() { lists++ }
	for i := range 4 {
		reading, cancel := context.WithCancel(t.Context())
		n.reading = func() {
			if reads++; reads == 300*i && i < 3 {
				cancel()
			}
		}
		if i == 0 {
			cancel() // at once
		}
		result, err := n.d.Sync(dataplane.WithReading(t.Context(), reading), after, n.o)
		if err != nil {
			t.Fatal(err)
		}
		repaired += result.Repaired
		if interrupted := i < 3; result.Interrupted != interrupted || (result.NextLook == 1) != interrupted {
			t.Errorf("Sync %d: %+v", i, result)
		}
		if i == 0 && result.Operations == 0 {
			t.Errorf("the change is not programmed: %+v", result)
		}
		cancel()
	}
	if lists != 1 || reads != services || repaired != 2 {
		t.Errorf("%d lists, %d virtual servers read, %d repairs", lists, reads, repaired)
	}
	n.unchanged(after)
}
