// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/fairlead-proxy/fairlead/agent/source"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// TestAgentTakesTheControllersSlices watches slices as an agent does, in the watch and in the
// first list, while others make and change some.
func TestAgentTakesTheControllersSlices(t *testing.T) {
	s := newServices(t)
	create(t, s.service(), s.endpointSlice(2))
	s.reconcile()
	name := s.ns + ".web-v4-0"
	s.writeKubernetes()

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
	fresh := s.agent()
	fresh.wantsNoList("a new agent without a checkpoint", name)
	s.reconcile()
	agent.wants("restored by the controller", 2, "")
	fresh.wants("restored, for the new agent", 2, "")
	s.agent().wants("a new agent", 2, "")
}

// writeKubernetes has the controller write the slices of default/kubernetes, without which a new
// agent believes no list.
func (s *services) writeKubernetes() {
	s.t.Helper()
	key := types.NamespacedName{Namespace: "default", Name: "kubernetes"}
	if _, err := s.Reconcile(s.t.Context(), ctrl.Request{NamespacedName: key}); err != nil {
		s.t.Fatal(err)
	}
	id := model.ServiceID{Namespace: key.Namespace, Name: key.Name, Family: corev1.IPv4Protocol}
	cleanUp(s.t, &v1alpha1.ServiceRuleSlice{ObjectMeta: metav1.ObjectMeta{Name: model.SliceName(id, 0)}})
}

// watcher is what an agent holds of the slices.
type watcher struct {
	s       *services
	store   *source.Store
	held    map[string]*v1alpha1.ServiceRuleSliceSpec
	refused error
	failed  atomic.Value // the last error of a list or watch, its text
}

func (s *services) agent() *watcher {
	s.t.Helper()
	client, err := source.NewClient(config)
	if err != nil {
		s.t.Fatal(err)
	}
	w := &watcher{s: s, store: source.NewStore(time.Now), held: map[string]*v1alpha1.ServiceRuleSliceSpec{}}
	w.store.SetNode(&source.NodeRules{}) // there is no NodeRuleSet of this name
	source.Watch(s.t.Context(), client, "n1", w.store, func(types.UID, v1alpha1.NodeRuleSetStatus) {}, func(_ string, err error) {
		if err != nil && !errors.Is(err, context.Canceled) {
			w.failed.Store(err.Error())
		}
	})
	return w
}

// wantsNoList waits until the agent has refused a list because of a slice, and checks that it
// has taken none.
func (w *watcher) wantsNoList(when, slice string) {
	w.s.t.Helper()
	eventually(w.s.t, when, func(context.Context) bool {
		text, _ := w.failed.Load().(string)
		return strings.Contains(text, slice)
	})
	if ch, complete := w.store.Take(); complete {
		w.s.t.Errorf("%s takes a list: %v", when, ch.Slices)
	}
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
