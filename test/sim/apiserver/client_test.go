// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestEventsHaveNoFaults writes an event in the name of a process that is paused and cut off. Else a
// simulation in which the broadcaster of events holds its mutex for the call never ends.
func TestEventsHaveNoFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(Kind{Resource: "events", APIVersion: "events.k8s.io/v1", Kind: "Event", Namespaced: true}).NewClient("one", &sync.WaitGroup{})
		c.Inject(Fault{Outcome: Stall, Count: 1, Pause: time.Minute})
		c.Hold()
		c.Part(time.Hour)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPatch,
			"http://192.0.2.1/apis/events.k8s.io/v1/namespaces/default/events/x", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		a, err := c.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Body.Close()
		if waited := time.Since(begun); a.StatusCode != http.StatusCreated || waited > 0 {
			t.Errorf("the answer is %s after %s", a.Status, waited)
		}
	})
}
