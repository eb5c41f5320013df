// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-proxy/fairlead/agent/source"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// TestAgentTakesTheControllersSlices watches slices as an agent does, in the watch and in the
// first list, while others make and change some.
func TestAgentTakesTheControllersSlices(t *testing.T) {
	s := newServices(t)
	create(t, s.service(), s.endpointSlice(2))
	s.reconcile()
	name := s.ns + ".web-v4-0"

	agent := s.agent()
	agent.wants("what the controller has written", 2, "")
	foreign := s.sliceOf("never")
	create(t, foreign)
	agent.wants("a slice that was made by hand", 2, foreign.Name+": envtest.test has written its spec, not fairlead-controller")
	s.delete(foreign)
	agent.wants("it is gone", 2, "")

	edited := s.slices()["web-v4-0"]
	edited.Spec.Endpoints = edited.Spec.Endpoints[:1]
	s.update(&edited)
	agent.wants("a slice that was edited by hand", 2, name+": envtest.test has written its spec, not fairlead-controller")
	s.agent().wants("a new agent without a checkpoint", 0, name+": envtest.test has written its spec, not fairlead-controller")
	s.reconcile()
	agent.wants("restored by the controller", 2, "")
	s.agent().wants("a new agent", 2, "")
}

// watcher is what an agent holds of the slices.
type watcher struct {
	s       *services
	store   *source.Store
	held    map[string]*v1alpha1.ServiceRuleSliceSpec
	refused error
}

func (s *services) agent() *watcher {
	s.t.Helper()
	client, err := source.NewClient(config)
	if err != nil {
		s.t.Fatal(err)
	}
	w := &watcher{s: s, store: source.NewStore(time.Now), held: map[string]*v1alpha1.ServiceRuleSliceSpec{}}
	w.store.SetNode(&source.NodeRules{}) // there is no NodeRuleSet of this name
	source.Watch(s.t.Context(), client, "n1", w.store, func(types.UID, v1alpha1.NodeRuleSetStatus) {}, func(what string, err error) {
		if err != nil && !errors.Is(err, context.Canceled) {
			s.t.Logf("watch %s: %v", what, err)
		}
	})
	return w
}

// wants waits until the agent has a number of endpoints of the Service web, and refuses
// slices of the namespace for one reason.
func (w *watcher) wants(when string, endpoints int, refused string) {
	w.s.t.Helper()
	var got int
	var reasons []string
	eventually(w.s.t, when, func(context.Context) bool {
		ch, ok := w.store.Take()
		if !ok || !ch.FromAPI {
			return false
		}
		for name, spec := range ch.Slices {
			w.held[name] = spec
		}
		w.refused, got, reasons = ch.Refused, 0, nil
		if spec := w.held[w.s.ns+".web-v4-0"]; spec != nil {
			got = len(spec.Endpoints)
		}
		if ch.Refused != nil {
			for line := range strings.Lines(ch.Refused.Error()) {
				if strings.HasPrefix(line, w.s.ns+".") {
					reasons = append(reasons, strings.TrimSpace(line))
				}
			}
		}
		return got == endpoints && strings.Join(reasons, " ") == refused
	})
}
