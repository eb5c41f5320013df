// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package sim simulates a cluster in one process and one goroutine bubble (testing/synctest),
// and checks after each step that no Service that lives has lost its endpoints.
//
//	world (Services, Pods) -> apiserver (in memory) <-> 2 controllers, N agents -> kernels
//	   |                          faults of calls,       real code               in memory,
//	   +-> oracle <---------------- watches, backups ------------------------------ faults
//
// Controllers and agents are the real ones, from the flags on: controllers.Setup in a
// controller-runtime manager with leader election, and agent.Run. Simulated are the
// apiserver (an http.RoundTripper), the kernels (agent/dataplane/fake), and failures of the
// disk; the state folders are real files. Time is the bubble's.
//
// A seed determines the events (see event), and each is followed by a pause until all goroutines
// wait. What goroutines do concurrently within a step, and the jitter of back-offs, is not
// determined: a seed that fails may have to be run several times.
//
// What must hold (see oracle and calm):
//   - at each moment, each frontend in a kernel leads to endpoints that the Service had, and
//     has not lost longer ago than the faults explain;
//   - a frontend whose kernel had an endpoint that is ready since leads somewhere;
//   - an agent that starts without the apiserver changes nothing in the kernel, and programs
//     all of it after a boot;
//   - a digest and a generation that a node reports are those of what its kernel has had, not
//     long ago if the node says that it is programmed, and it does not say so while the kernel fails;
//   - some time after the last fault, kernels, slices and statuses are as wanted, and nothing is
//     written any more;
//   - no process makes endless requests, and no controller works long after it has renewed the Lease.
package sim

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/controllers"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/test/sim/apiserver"
)

const (
	nodeCount       = 3
	controllerCount = 2

	// recovery is how long everything may take to be right after the last fault: the
	// longest back-offs (checks of held slices, 60 s) and a new leader.
	recovery = 150 * time.Second
)

// simulation is a run.
type simulation struct {
	*health
	log     logr.Logger
	scheme  *runtime.Scheme
	sysctls string // folder
	server  *apiserver.Server
	world   *world
	oracle  *oracle
	nodes   []*node
	replica []*controller
	group   sync.WaitGroup
	saved   *saved
	backup  bool // at the end of the next calm
	writes  *writes
	lives   *lives
	claims  *claims
	traffic *traffic
	policy  int // which one

	oldSchema bool
	crdBack   time.Time // zero: the CRD is there
	released  time.Time // when paused replicas go on
	paused    []*apiserver.Client
}

// saved is a backup.
type saved struct {
	api    *apiserver.Backup
	world  *world
	policy int
}

// result is how a run ends.
type result struct {
	steps int   // that were done
	err   error // what does not hold; nil: everything does
}

// run runs events in the bubble of the caller, in a folder.
func run(events []event, dir string, log logr.Logger) (r result) {
	s, err := newSimulation(dir, log)
	if err != nil {
		return result{err: err}
	}
	defer s.stop()
	s.calm()
	for i, e := range events {
		s.log.V(1).Info("Event", "step", i+1, "event", e.String())
		s.do(e)
		s.settle()
		if err := s.failure(); err != nil {
			return result{steps: i + 1, err: err}
		}
		r.steps++
	}
	return r
}

// do does an event.
func (s *simulation) do(e event) {
	switch {
	case e.do == advance:
		s.pass(e.d)
	case e.do == calm:
		s.calm()
	case e.do == growService:
		s.setBig()
		s.world.change(e)
	case e.do == editPolicy:
		s.policy = e.b % 3
		s.putPolicy()
	case s.world.change(e):
	default:
		s.fault(e)
	}
}

func newSimulation(dir string, log logr.Logger) (*simulation, error) {
	scheme, err := controllers.Scheme()
	if err != nil {
		return nil, err
	}
	s := &simulation{health: &health{faultUntil: time.Now()}, log: log, scheme: scheme, server: apiserver.New(kinds...), oracle: newOracle(),
		sysctls: filepath.Join(dir, "sysctls")}
	s.world = &world{services: map[string]*service{}, server: s.server, oracle: s.oracle}
	s.lives = &lives{byName: map[string]*life{}}
	s.writes, s.claims = newWrites(), newClaims(s.lives, s.fail)
	s.traffic = newTraffic(s.fail)
	s.server.Written, s.server.Listed, s.server.Admit = s.written, s.listed, s.traffic.admit
	if err := writeSysctls(s.sysctls); err != nil {
		return nil, err
	}
	s.putPolicy()
	for i := range nodeCount {
		n := &node{sim: s, name: fmt.Sprintf("node-%d", i), kernel: newKernel()}
		n.disk = &disk{root: filepath.Join(dir, n.name)}
		if err := n.disk.take(); err != nil {
			return nil, err
		}
		n.kernel.programmed = func(l *life) {
			l.gets(contentOf(n.kernel.Kernel()))
			s.check(n)
		}
		n.kernel.crash = func(l *life, f kernelFault) {
			if f == crashApart {
				n.part(apart)
			}
			n.kill(l, 2*time.Second)
		}
		s.nodes = append(s.nodes, n)
		s.world.nodes = append(s.world.nodes, n.name)
		s.server.Put(cluster, "nodes", nodeObject(n.name, i))
	}
	s.world.addAPIServer()
	for i := range controllerCount {
		c := &controller{sim: s, name: fmt.Sprint(replicaName, i)}
		s.replica = append(s.replica, c)
		c.start()
	}
	for _, n := range s.nodes {
		n.start()
	}
	return s, nil
}

// stop ends all goroutines.
func (s *simulation) stop() {
	s.heal()
	for _, n := range s.nodes {
		n.kill(nil, time.Hour)
	}
	for _, c := range s.replica {
		c.kill(time.Hour)
	}
	s.group.Wait()
}

func (s *simulation) putPolicy() { s.server.Put(cluster, proxyConfigs, policy(s.policy)) }

// settle waits until all goroutines wait, starts what is to be started, and checks.
func (s *simulation) settle() {
	synctest.Wait()
	s.traffic.begin()
	now := time.Now()
	if !s.crdBack.IsZero() && !now.Before(s.crdBack) {
		s.crdBack = time.Time{}
		s.server.Define(ruleSlices)
	}
	if !now.Before(s.released) {
		for _, p := range s.paused {
			p.Release()
		}
		s.paused = nil
	}
	s.world.collectRevisions()
	for _, n := range s.nodes {
		n.tend()
	}
	for _, c := range s.replica {
		c.tend()
	}
	synctest.Wait()
	for _, n := range s.nodes {
		s.check(n)
		n.checkLeft()
	}
}

// pass lets time pass.
func (s *simulation) pass(d time.Duration) {
	for d > 0 && s.failure() == nil {
		part := min(d, time.Second)
		time.Sleep(part)
		d -= part
		s.settle()
	}
}

// check checks the kernel of a node.
func (s *simulation) check(n *node) { s.oracle.check(n.name, n.kernel.Kernel(), s.stale, s.fail) }

// written is called with each object that is written.
func (s *simulation) written(client, resource string, old, now *apiserver.Object) {
	if client != cluster {
		s.writes.add(resource)
	}
	switch resource {
	case ruleSlices:
		s.log.V(1).Info("Written", "by", client, "before", old.String(), "after", now.String())
		s.claims.slice(old, now)
	case ruleSets:
		s.claims.set(client, now)
	case leases:
		s.traffic.leads(client)
	}
}

// listed is called with what a client lists.
//
// An agent without a journal does not know what the kernel has. What its first list does not
// have it loses; but it does not take each first list (see docs/design.md).
func (s *simulation) listed(client, resource string, objects []*apiserver.Object) {
	l := s.lives.of(client)
	if l == nil || resource != ruleSlices && resource != ruleSets {
		return
	}
	l.reached.Store(true)
	if resource != ruleSlices || !l.node.blind.Load() || l.programmed.Load() {
		return
	}
	whole := map[string]bool{}
	for _, o := range objects {
		var slice v1alpha1.ServiceRuleSlice
		s.must(o.Decode(&slice))
		name := slice.Spec.ServiceName
		switch {
		case model.CheckOrigin(&slice) == nil:
			whole[name] = whole[name] || len(slice.Spec.Endpoints) > 0
		case s.oracle.isService(name):
			return // it is refused, and so is the list
		}
	}
	if _, begun := whole[model.APIServerService.Name]; begun {
		s.oracle.excuse(l.node.name, func(service string) bool { return !whole[service] })
	}
}

// writeSysctls makes the kernel's parameters that an agent may set.
func writeSysctls(root string) error {
	dir := filepath.Join(root, "net", "netfilter")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for name, value := range map[string]string{"max": "4194304", "buckets": "1048576", "tcp_timeout_established": "86400",
		"tcp_timeout_close_wait": "3600"} {
		if err := os.WriteFile(filepath.Join(dir, "nf_conntrack_"+name), []byte(value+"\n"), 0o600); err != nil {
			return err
		}
	}
	return nil
}
