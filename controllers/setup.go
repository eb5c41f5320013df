// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package controllers sets up the reconcilers, which have a package each.
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
	"github.com/fairlead-proxy/fairlead/controllers/revisions"
	"github.com/fairlead-proxy/fairlead/controllers/rollouts"
	"github.com/fairlead-proxy/fairlead/controllers/servicerules"
	"github.com/fairlead-proxy/fairlead/controllers/takeover"
)

// Name is the name that the controller reports events under.
const Name = "fairlead-controller"

// The back-off after failures. The maximum is short, so that work resumes soon
// after a long outage of the apiserver.
const (
	firstRetry = 20 * time.Millisecond
	lastRetry  = 15 * time.Second
)

// agentPatience is how long an agent may not report before it counts as not ready: four
// intervals of its heartbeats.
const agentPatience = time.Minute

// cleanUpPatience is how long an agent may take to clean up its node before the controller
// says that it has not.
const cleanUpPatience = 2 * time.Minute

// serviceWorkers is how many Services are compiled and written concurrently: more
// than the cores of a small machine, because a write waits for etcd's disk.
const serviceWorkers = 8

// Agents configures what the controller does for the agents themselves.
type Agents struct {
	// Namespace is the namespace of the agents and of the controller.
	Namespace string

	// Image is the image of the DaemonSet that the controller creates; if empty, it creates
	// none, and has no right to do so.
	Image string

	// APIServers are the addresses of the apiserver for the agents; if empty, the
	// endpoints of default/kubernetes.
	APIServers []string
}

// Scheme returns the scheme of all kinds that the controller reads and writes.
func Scheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	return scheme, errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme))
}

// Setup adds the reconcilers to a manager.
func Setup(ctx context.Context, mgr ctrl.Manager, agents Agents) error {
	recorder := mgr.GetEventRecorder(Name)
	c, live := mgr.GetClient(), mgr.GetAPIReader()
	nodes := &noderules.Reconciler{Client: c, Live: live, Recorder: recorder, Clock: clock.RealClock{}, Namespace: agents.Namespace,
		Patience: cleanUpPatience}
	err := errors.Join(
		servicerules.New(c, live, recorder, clock.RealClock{}).SetupWithManager(ctx, mgr, options(serviceWorkers)),
		nodes.SetupWithManager(mgr, options(4)),
		proxyconfig.New(c, live, clock.RealClock{}, agentPatience).SetupWithManager(mgr, options(1)),
		(&rollouts.Reconciler{Client: c, Live: live, Nodes: nodes, Recorder: recorder, Clock: clock.RealClock{}, Patience: agentPatience}).
			SetupWithManager(mgr, options(1)),
		(&takeover.Reconciler{Client: c, Live: live, Recorder: recorder}).SetupWithManager(mgr, options(1)),
		(&revisions.Reconciler{Client: c, Namespace: agents.Namespace}).SetupWithManager(mgr, options(1)),
		(&install.APIServers{Client: c, Recorder: recorder, Namespace: agents.Namespace, Configured: agents.APIServers}).
			SetupWithManager(mgr, options(1)),
	)
	if err == nil && agents.Image != "" {
		err = (&install.DaemonSet{Client: c, Recorder: recorder, Namespace: agents.Namespace, Image: agents.Image}).
			SetupWithManager(mgr, options(1))
	}
	if err != nil {
		return fmt.Errorf("set up the reconcilers: %w", err)
	}
	return nil
}

// options are the options of a controller that keeps its cache warm while another
// replica leads.
func options(workers int) controller.Options {
	warm := true
	return controller.Options{
		MaxConcurrentReconciles: workers,
		EnableWarmup:            &warm,
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, lastRetry),
	}
}

// CachesSynced is a readiness check: it succeeds once the replica can become the
// leader without a delay.
func CachesSynced(c crcache.Cache) healthz.Checker {
	return func(req *http.Request) error {
		ctx, cancel := context.WithTimeout(req.Context(), time.Second)
		defer cancel()
		if !c.WaitForCacheSync(ctx) {
			return errors.New("the caches are not synced yet")
		}
		return nil
	}
}
