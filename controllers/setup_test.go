// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache/informertest"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/yaml"
)

// TestElectLeader checks the times of kube-controller-manager, and that the controller may
// renew the Lease of this name.
func TestElectLeader(t *testing.T) {
	type election struct {
		Elects, Releases       bool
		Namespace              string
		Duration, Renew, Retry time.Duration
	}
	var o ctrl.Options
	if err := ElectLeader(&o, &rest.Config{}, "ns", nil); err != nil {
		t.Fatal(err)
	}
	got := election{o.LeaderElection, o.LeaderElectionReleaseOnCancel, o.LeaderElectionNamespace, *o.LeaseDuration, *o.RenewDeadline, *o.RetryPeriod}
	want := election{true, true, "ns", 15 * time.Second, 10 * time.Second, 2 * time.Second}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("election (-want +got):\n%s", diff)
	}
	if lock, ok := o.LeaderElectionResourceLockInterface.(*lease); !ok || lock.Interface == nil {
		t.Errorf("the Lease is a %T, which a leader that is cut off goes on with", o.LeaderElectionResourceLockInterface)
	}
	text, err := os.ReadFile(filepath.Join("..", "config", "rbac", "leader_election_role.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var role rbacv1.Role
	if err := yaml.Unmarshal(text, &role); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"get", "update"} {
		if !slices.ContainsFunc(role.Rules, func(r rbacv1.PolicyRule) bool {
			return slices.Contains(r.Verbs, verb) && slices.Contains(r.ResourceNames, o.LeaderElectionID)
		}) {
			t.Errorf("the controller may not %s the Lease %s", verb, o.LeaderElectionID)
		}
	}
}

// TestOptions checks how a controller of a replica that does not lead keeps its cache, and how
// soon work resumes after a long outage of the apiserver; and that only the leader works.
func TestOptions(t *testing.T) {
	o := options(7)
	if o.MaxConcurrentReconciles != 7 || o.EnableWarmup == nil || !*o.EnableWarmup {
		t.Errorf("%d workers, warm: %v", o.MaxConcurrentReconciles, o.EnableWarmup)
	}
	if o.NeedLeaderElection != nil && !*o.NeedLeaderElection {
		t.Error("a replica works that does not lead")
	}
	request := reconcile.Request{NamespacedName: types.NamespacedName{Name: "a"}}
	var first, last time.Duration
	for i := range 30 {
		if last = o.RateLimiter.When(request); i == 0 {
			first = last
		}
	}
	if first != 20*time.Millisecond || last != 15*time.Second {
		t.Errorf("tried again after %s, at last after %s", first, last)
	}
}

// TestCachesSynced checks what makes a replica ready.
func TestCachesSynced(t *testing.T) {
	for name, synced := range map[string]bool{"synced": true, "not yet": false} {
		t.Run(name, func(t *testing.T) {
			err := CachesSynced(&informertest.FakeInformers{Synced: &synced})(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/readyz", nil))
			if (err == nil) != synced || err != nil && !strings.Contains(err.Error(), "not synced") {
				t.Errorf("got %v", err)
			}
		})
	}
}
