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
//   - some time after the last fault, kernels, slices and statuses are as wanted, and nothing is
//     written any more. Statuses are not checked before.
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

	"github.com/fairlead-proxy/fairlead/controllers"
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

	oldSchema bool
	crdBack   time.Time // zero: the CRD is there
	released  time.Time // when a paused leader goes on; zero: none is
	paused    *apiserver.Client
}

// saved is a backup.
type saved struct {
	api   *apiserver.Backup
	world *world
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
	s.writes = newWrites(s.server, log)
	if err := writeSysctls(s.sysctls); err != nil {
		return nil, err
	}
	s.server.Put(cluster, proxyConfigs, policy())
	for i := range nodeCount {
		n := &node{sim: s, name: fmt.Sprintf("node-%d", i), kernel: newKernel()}
		n.disk = &disk{root: filepath.Join(dir, n.name)}
		if err := n.disk.take(); err != nil {
			return nil, err
		}
		n.kernel.programmed = func() { s.check(n) }
		n.kernel.crash = func(l *life) { n.kill(l, 2*time.Second) }
		s.nodes = append(s.nodes, n)
		s.world.nodes = append(s.world.nodes, n.name)
		s.server.Put(cluster, "nodes", nodeObject(n.name, i))
	}
	s.world.addAPIServer()
	for i := range controllerCount {
		c := &controller{sim: s, name: fmt.Sprintf("controller-%d", i)}
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

// settle waits until all goroutines wait, starts what is to be started, and checks.
func (s *simulation) settle() {
	synctest.Wait()
	now := time.Now()
	if !s.crdBack.IsZero() && !now.Before(s.crdBack) {
		s.crdBack = time.Time{}
		s.server.Define(ruleSlices)
	}
	if s.paused != nil && !now.Before(s.released) {
		s.paused.Release()
		s.paused = nil
	}
	for _, n := range s.nodes {
		n.tend()
	}
	for _, c := range s.replica {
		c.tend()
	}
	synctest.Wait()
	for _, n := range s.nodes {
		s.check(n)
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
//
// An agent without a journal does not know what the kernel has. If slices are missing then, it
// can lose what it does not know; only the first list is checked (see docs/design.md).
func (s *simulation) check(n *node) {
	if n.isBlind() && s.isMissing() {
		s.oracle.forget(n.name)
	}
	s.oracle.check(n.name, n.kernel.Kernel(), s.stale, s.fail)
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
