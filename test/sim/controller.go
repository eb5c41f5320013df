// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/fairlead-proxy/fairlead/controllers"
	"github.com/fairlead-proxy/fairlead/test/sim/apiserver"
)

// leaseNamespace has the leader's Lease.
const leaseNamespace = "kube-system"

// replicaName begins the names of replicas and of their clients.
const replicaName = "controller-"

// endDelay is the time between the reason to end a replica and its end. No other time of the
// simulation has nanoseconds like these.
const endDelay = 1_234_567 * time.Nanosecond

// controller is a replica of the controller.
type controller struct {
	sim  *simulation
	name string

	mu        sync.Mutex
	client    *apiserver.Client
	cancel    context.CancelFunc // nil: it does not run
	restartAt time.Time
	born      int
}

// start starts the replica.
func (c *controller) start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.born++
	born := c.born
	killed, kill := context.WithCancel(context.Background())
	client := c.sim.server.NewClient(fmt.Sprintf("%s/%d", c.name, c.born), &c.sim.group)
	c.client, c.cancel = client, kill
	c.sim.group.Go(func() {
		err := c.sim.manage(killed, client)
		kill()
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.born == born && c.cancel != nil {
			// It has lost its Lease. The kubelet starts it again.
			c.sim.log.V(1).Info("A replica ends", "name", c.name, "reason", fmt.Sprint(err))
			c.cancel, c.restartAt = nil, time.Now().Add(time.Second)
		}
	})
}

// kill kills the replica. It starts again after some time.
func (c *controller) kill(restart time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancel == nil {
		return
	}
	c.client.Mute()
	c.cancel()
	c.cancel, c.restartAt = nil, time.Now().Add(restart)
}

// tend starts the replica when it is time.
func (c *controller) tend() {
	c.mu.Lock()
	due := c.cancel == nil && !time.Now().Before(c.restartAt)
	c.mu.Unlock()
	if due {
		c.start()
	}
}

// process returns the client of the running replica; nil: it does not run.
func (c *controller) process() *apiserver.Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancel == nil {
		return nil
	}
	return c.client
}

// manage runs the controller as its command does, but for the servers, until it is killed or
// ends. A manager that is stopped before its caches are synced spins (controller-runtime
// 0.25), and the bubble's time would stand still: until then a killed one reads on.
func (s *simulation) manage(killed context.Context, client *apiserver.Client) error {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	// A manager (controller-runtime 0.25) that is ended in the moment in which it loses its Lease
	// reads a field that its leader election writes. Real time has no two events in one moment;
	// no other event is in that of the end.
	end := func(cause error) { time.AfterFunc(endDelay, func() { cancel(cause) }) }
	o := ctrl.Options{
		Scheme: s.scheme, Cache: controllers.CacheOptions(leaseNamespace), Logger: s.log,
		Metrics: metricsserver.Options{BindAddress: "0"}, HealthProbeBindAddress: "0",
		MapperProvider: func(*rest.Config, *http.Client) (meta.RESTMapper, error) { return mapper(s.scheme), nil },
	}
	skip := true // other simulations have controllers of these names
	o.Controller = config.Controller{SkipNameValidation: &skip}
	warm := make(chan struct{})
	cfg := client.Config()
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return &candidate{next: next, warm: warm} })
	if err := controllers.ElectLeader(&o, cfg, leaseNamespace, end); err != nil {
		return err
	}
	mgr, err := ctrl.NewManager(cfg, o)
	if err != nil {
		return err
	}
	if err := controllers.Setup(ctx, mgr, controllers.Agents{Namespace: leaseNamespace}); err != nil {
		return err
	}
	s.group.Go(func() {
		// The controllers have asked for all informers after some time.
		for range 5 {
			time.Sleep(200 * time.Millisecond)
			if !mgr.GetCache().WaitForCacheSync(ctx) {
				return
			}
		}
		close(warm)
		<-killed.Done()
		client.Kill()
		end(nil)
	})
	return mgr.Start(ctx)
}

// candidate keeps a replica from becoming the leader before its caches are synced: a
// controller that starts while it is warmed up waits for a mutex, and the bubble's time
// would stand still.
type candidate struct {
	next http.RoundTripper
	warm <-chan struct{}
}

// RoundTrip implements http.RoundTripper.
func (c *candidate) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.Contains(r.URL.Path, "/leases") {
		select {
		case <-c.warm:
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	return c.next.RoundTrip(r)
}

// mapper maps the kinds of the simulated apiserver. It asks no apiserver.
func mapper(scheme *runtime.Scheme) meta.RESTMapper {
	out := meta.NewDefaultRESTMapper(scheme.PreferredVersionAllGroups())
	for _, k := range kinds {
		scope := meta.RESTScopeRoot
		if k.Namespaced {
			scope = meta.RESTScopeNamespace
		}
		gv, err := schema.ParseGroupVersion(k.APIVersion)
		if err != nil {
			panic(err) // it is a constant
		}
		out.AddSpecific(gv.WithKind(k.Kind), gv.WithResource(k.Resource), gv.WithResource(k.Resource), scope)
		out.Add(gv.WithKind(k.Kind+"List"), scope) // as the mapper by discovery does
	}
	return out
}
