// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	crconfig "sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/controllers"
)

// serviceRange is the initial ServiceCIDR of the test's apiserver.
const serviceRange = "10.0.0.0/24"

// guarded polls until all NodeRuleSets have exactly these ServiceCIDRs.
func guarded(t *testing.T, want ...string) {
	t.Helper()
	eventually(t, "guarded: "+strings.Join(want, " "), func(ctx context.Context) bool {
		for _, name := range []string{"n1", "n2"} {
			set := &v1alpha1.NodeRuleSet{}
			if api.Get(ctx, client.ObjectKey{Name: name}, set) != nil || !slices.Equal(set.Spec.ServiceCIDRs, want) {
				return false
			}
		}
		return true
	})
}

// TestServiceCIDRs checks that the NodeRuleSets follow the cluster's ServiceCIDRs at
// once.
func TestServiceCIDRs(t *testing.T) {
	deploy(t)
	names := []string{"n1", "n2"}
	for _, name := range names { // after the controller has stopped, which would write them again
		cleanUp(t, &v1alpha1.NodeRuleSet{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	mgr, _ := startController(t)
	<-mgr.Elected()
	for _, name := range names {
		create(t, node(name), policy(name, name, 0))
	}
	guarded(t, serviceRange)

	second := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "second", Finalizers: []string{"example.com/in-use"}},
		Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.97.0.0/16", "fd00:97::/112"}}}
	create(t, second)
	guarded(t, serviceRange, "10.97.0.0/16", "fd00:97::/112")

	remove(t, second)
	third := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "third"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.98.0.0/16"}}}
	create(t, third)
	guarded(t, serviceRange, "10.97.0.0/16", "10.98.0.0/16", "fd00:97::/112") // the second is still in use

	if err := api.Get(t.Context(), client.ObjectKeyFromObject(second), second); err != nil {
		t.Fatal(err)
	}
	second.Finalizers = nil
	update(t, second)
	guarded(t, serviceRange, "10.98.0.0/16")
}

// older simulates an apiserver before Kubernetes 1.33, without ServiceCIDRs. A current
// one does not become ready if they are disabled (runtime-config).
type older struct{ http.RoundTripper }

// RoundTrip hides the kind.
func (o older) RoundTrip(r *http.Request) (*http.Response, error) {
	const group, resource = "/apis/networking.k8s.io/v1", "servicecidrs"
	r = r.Clone(r.Context())
	if strings.HasPrefix(r.URL.Path, group+"/"+resource) {
		r.URL.Path += "-unknown"
	}
	if r.URL.Path == "/api" || r.URL.Path == "/apis" {
		r.Header.Set("Accept", "application/json") // no aggregated discovery
	}
	answer, err := o.RoundTripper.RoundTrip(r)
	if err != nil || r.URL.Path != group {
		return answer, err
	}
	var list metav1.APIResourceList
	err = errors.Join(json.NewDecoder(answer.Body).Decode(&list), answer.Body.Close())
	if err != nil {
		return nil, err
	}
	list.APIResources = slices.DeleteFunc(list.APIResources, func(a metav1.APIResource) bool { return strings.HasPrefix(a.Name, resource) })
	text, err := json.Marshal(list)
	answer.Body, answer.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
	return answer, err
}

// TestWithoutServiceCIDRs checks that the controller works on a cluster that has
// no ServiceCIDRs.
func TestWithoutServiceCIDRs(t *testing.T) {
	cfg := as(serviceAccount("fairlead-controller-manager"), "system:masters")
	cfg.Wrap(func(rt http.RoundTripper) http.RoundTripper { return older{rt} })
	cfg.ContentType, cfg.QPS = "application/json", -1
	yes := true
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme: api.Scheme(), Cache: controllers.CacheOptions(systemNamespace),
		Controller: crconfig.Controller{SkipNameValidation: &yes},
		Metrics:    metricsserver.Options{BindAddress: "0"},
	})
	if err != nil {
		t.Fatal(err)
	}
	kind := networkingv1.SchemeGroupVersion.WithKind("ServiceCIDR")
	if _, err := mgr.GetRESTMapper().RESTMapping(kind.GroupKind(), kind.Version); !apimeta.IsNoMatchError(err) {
		t.Fatalf("the cluster has ServiceCIDRs: %v", err)
	}
	names := []string{"n1", "n2"}
	for _, name := range names { // after the controller has stopped, which would write them again
		cleanUp(t, &v1alpha1.NodeRuleSet{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := controllers.Setup(ctx, mgr, controllers.Agents{Namespace: systemNamespace}); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	for _, name := range names {
		create(t, node(name), policy(name, name, 0))
	}
	guarded(t)
}
