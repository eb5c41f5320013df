// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/agent/source"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// removals is a namespace with Services, and what an agent takes of them.
type removals struct {
	*testing.T
	ns    string
	store *source.Store
	stop  func() // the agent

	mu   sync.Mutex
	lost sets.Set[string] // Services that were without rules or endpoints
}

// startAgent runs the agent's watches with the permissions of its ServiceAccount, from the
// checkpoint, if there is one.
func (r *removals) startAgent(checkpoint *source.Store) {
	client, err := source.NewClient(as(serviceAccount("fairlead-agent"), "system:serviceaccounts", "system:serviceaccounts:"+systemNamespace))
	if err != nil {
		r.Fatal(err)
	}
	r.store = source.NewStore(time.Now)
	if checkpoint == nil {
		r.store.SetNode(&source.NodeRules{})
	} else {
		r.store.Restore(checkpoint.Snapshot())
	}
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	store := r.store
	group.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-store.Wakeup:
				r.take(store)
			}
		}
	})
	source.Watch(ctx, client, "n1", store, func(types.UID, v1alpha1.NodeRuleSetStatus) {}, func(string, error) {})
	r.stop = func() { cancel(); group.Wait() }
	r.Cleanup(r.stop)
}

func (r *removals) take(store *source.Store) {
	changes, _ := store.Take()
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, parts := range changes.Services {
		endpoints := 0
		for _, part := range parts {
			endpoints += len(part.Endpoints)
		}
		if id.Namespace == r.ns && endpoints == 0 {
			r.lost.Insert(id.Name)
		}
	}
}

// wantLost compares the Services that have lost their rules.
func (r *removals) wantLost(want ...string) {
	r.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.lost.Equal(sets.New(want...)) {
		r.Errorf("without rules: %v, want %v", sets.List(r.lost), want)
	}
}

// taken counts the slices of the namespace that the agent has in effect.
func (r *removals) taken() int {
	n := 0
	_, specs := r.store.Snapshot()
	for name := range specs {
		if strings.HasPrefix(name, r.ns+".") {
			n++
		}
	}
	return n
}

// inAPI counts the slices of the namespace.
func (r *removals) inAPI(ctx context.Context) int {
	var list v1alpha1.ServiceRuleSliceList
	if err := api.List(ctx, &list, client.MatchingLabels{v1alpha1.LabelServiceNamespace: r.ns}); err != nil {
		return -1
	}
	return len(list.Items)
}

// areServed says whether all slices of the namespace have endpoints.
func (r *removals) areServed(ctx context.Context) bool {
	var list v1alpha1.ServiceRuleSliceList
	err := api.List(ctx, &list, client.MatchingLabels{v1alpha1.LabelServiceNamespace: r.ns})
	return err == nil && !slices.ContainsFunc(list.Items, func(s v1alpha1.ServiceRuleSlice) bool { return len(s.Spec.Endpoints) == 0 })
}

// settle waits until API and agent have n slices, and nothing is held.
func (r *removals) settle(n int) {
	r.Helper()
	err := wait.PollUntilContextTimeout(r.Context(), 50*time.Millisecond, 90*time.Second, true, func(ctx context.Context) (bool, error) {
		return r.inAPI(ctx) == n && r.taken() == n && r.store.Held().Slices == 0, nil
	})
	if err != nil {
		r.Fatalf("%d slices in the API, %d taken, want %d; held: %+v", r.inAPI(r.Context()), r.taken(), n, r.store.Held())
	}
}

func (r *removals) name(i int) string { return fmt.Sprintf("web-%02d", i) }

func (r *removals) service(i int) *corev1.Service {
	svc := (&services{ns: r.ns}).service()
	svc.Name = r.name(i)
	return svc
}

// TestNothingTakesServicesAway takes away slices, and their definition, in each way that is
// no deletion of a Service, and then Services.
func TestNothingTakesServicesAway(t *testing.T) {
	const count = 60
	deploy(t)
	r := &removals{T: t, ns: namespace(t), lost: sets.New[string]()}
	first, stopController := startController(t)
	<-first.Elected()
	for i := range count {
		slice := (&services{ns: r.ns}).endpointSlice(2)
		slice.Name = r.name(i)
		slice.Labels = map[string]string{discoveryv1.LabelServiceName: r.name(i)}
		create(t, r.service(i), slice)
	}
	// A Service may come before its endpoints.
	eventually(t, "slices with endpoints", func(ctx context.Context) bool { return r.inAPI(ctx) == count && r.areServed(ctx) })
	r.startAgent(nil)
	r.settle(count)

	kubectl(t, "delete", "servicerules", "--all")
	r.settle(count)
	r.wantLost()

	kubectl(t, "delete", "crd", "serviceruleslices.proxy.fairlead.dev")
	eventually(t, "the agent to see it", func(context.Context) bool { return r.store.Held().Slices >= count })
	kubectl(t, "apply", "--server-side", "-f", filepath.Join("..", "..", "config", "crd", "bases"))
	r.settle(count)
	r.wantLost()

	// Without a controller, and with an agent that starts again.
	stopController()
	kubectl(t, "delete", "servicerules", "--all")
	eventually(t, "the agent to look at the Services", func(context.Context) bool { return r.store.Held().Err != nil })
	r.stop()
	r.startAgent(r.store)
	eventually(t, "the agent to look at the Services again", func(context.Context) bool { return r.store.Held().Err != nil })
	if got := r.taken(); got != count {
		t.Errorf("%d slices are left, want %d", got, count)
	}
	r.wantLost()
	remove(t, r.service(0)) // of which the controller never knows
	second, _ := startController(t)
	<-second.Elected()
	r.settle(count - 1)
	r.wantLost(r.name(0))

	remove(t, r.service(1))
	eventually(t, "a deletion", func(context.Context) bool { return r.taken() == count-2 })
	r.settle(count - 2)
	r.wantLost(r.name(0), r.name(1))

	for i := 2; i < count-1; i++ {
		remove(t, r.service(i))
	}
	r.settle(1)
	if r.lost.Has(r.name(count - 1)) {
		t.Error("the Service that is left has lost its rules")
	}
}
