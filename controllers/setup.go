// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package controllers puts the reconcilers together. Each has a package of its
// own below.
package controllers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	crcache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/controllers/install"
	"github.com/fairlead-proxy/fairlead/controllers/noderules"
	"github.com/fairlead-proxy/fairlead/controllers/proxyconfig"
	"github.com/fairlead-proxy/fairlead/controllers/servicerules"
)

// Name is the name that the controller reports events under.
const Name = "fairlead-controller"

// The delays after failures. An apiserver that was away for an hour must not be
// waited for much longer than that hour.
const (
	firstRetry = 20 * time.Millisecond
	lastRetry  = 15 * time.Second
)

// serviceWorkers is how many Services are compiled and written at a time. A
// write waits for etcd's disk, so more than the cores of a small machine.
const serviceWorkers = 8

// Install says how the agents are installed.
type Install struct {
	// Namespace is where the agents' DaemonSet belongs.
	Namespace string

	// Image is the agents' image.
	Image string

	// APIServers are the addresses of the apiserver that the agents get; those
	// of the endpoints of default/kubernetes if empty.
	APIServers []string
}

// Scheme returns the scheme of all kinds that the controller reads and writes.
func Scheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	return scheme, errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme))
}

// Setup adds the reconcilers to a manager. Without an Install nobody installs
// the agents.
func Setup(ctx context.Context, mgr ctrl.Manager, agent *Install) error {
	recorder := mgr.GetEventRecorder(Name)
	c, live := mgr.GetClient(), mgr.GetAPIReader()
	err := errors.Join(
		servicerules.New(c, live, recorder, clock.RealClock{}).SetupWithManager(ctx, mgr, options(serviceWorkers)),
		(&noderules.Reconciler{Client: c, Live: live, Recorder: recorder}).SetupWithManager(mgr, options(4)),
		(&proxyconfig.Reconciler{Client: c}).SetupWithManager(mgr, options(1)),
	)
	if err == nil && agent != nil {
		err = (&install.Reconciler{Client: c, Recorder: recorder, Namespace: agent.Namespace,
			Image: agent.Image, APIServers: agent.APIServers}).SetupWithManager(mgr, options(1))
	}
	if err != nil {
		return fmt.Errorf("set up the reconcilers: %w", err)
	}
	return nil
}

// options make a controller that keeps its cache warm while another replica
// leads.
func options(workers int) controller.Options {
	warm := true
	return controller.Options{
		MaxConcurrentReconciles: workers,
		EnableWarmup:            &warm,
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, lastRetry),
	}
}

// CachesSynced is a readiness check: it succeeds once the replica could take
// over the lead at once.
func CachesSynced(c crcache.Cache) healthz.Checker {
	return func(req *http.Request) error {
		ctx, cancel := context.WithTimeout(req.Context(), time.Second)
		defer cancel()
		if !c.WaitForCacheSync(ctx) {
			return errors.New("the caches are not filled yet")
		}
		return nil
	}
}
