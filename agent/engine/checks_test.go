// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/fairlead-proxy/fairlead/agent/check"
	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/fake"
	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/agent/report"
	"github.com/fairlead-proxy/fairlead/agent/source"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// checking is a loop that runs, on a node with Services that answer or not.
type checking struct {
	*harness
	t    *testing.T
	ipvs *fake.Dataplane
	end  func() // of the loop

	mu     sync.Mutex
	latest report.Snapshot
	broken error
	dialed []string
}

func (c *checking) dial(_ context.Context, _, address string) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dialed = append(c.dialed, address)
	if c.broken != nil {
		return nil, c.broken
	}
	ours, _ := net.Pipe()
	return ours, nil
}

// newChecking is a loop that has verified the revision r-1 in NFTables. It ends with stop.
func newChecking(t *testing.T) (c *checking, stop func()) {
	c = &checking{harness: newHarness(t), t: t, ipvs: fake.New()}
	c.add(fake.Mode(ipvsMode, dataplane.LoadBalancer, c.ipvs))
	c.report = func(s report.Snapshot) { c.mu.Lock(); c.latest = s; c.mu.Unlock() }
	c.verify.check = check.New(c.dial, c.store.Wake, clock.RealClock{})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { c.Run(ctx) })
	c.store.NodeSynced()
	c.store.ReplaceSlices(agenttest.Listed(agenttest.Web("10.96.0.1", "10.244.1.2")), true)
	c.store.SetNode(assigned(1, "r-1", 1, nftablesMode))
	c.pass(20)
	c.wants(v1alpha1.RevisionVerified, "r-1", "")
	c.end = func() { cancel(); running.Wait() }
	return c, c.end
}

// pass lets some time pass, while the apiserver answers.
func (c *checking) pass(seconds int) {
	for range seconds {
		c.store.Contact.Answered(time.Now())
		time.Sleep(time.Second)
	}
	synctest.Wait()
}

func (c *checking) answers(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = err
}

// wants checks what is reported of the revision, and which one the kernel has ("": any).
func (c *checking) wants(phase v1alpha1.RevisionPhase, applied, failure string) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	s := report.StatusOf(c.latest, nil, metav1.Now())
	if r := s.Revision; r == nil || r.Phase != phase || applied != "" && s.AppliedRevision != applied || !strings.Contains(r.LastError, failure) {
		c.t.Errorf("reports %+v, applied %q; want %s, applied %q, error %q", r, s.AppliedRevision, phase, applied, failure)
	}
}

// wantDialed checks where the node has connected to, how often soever.
func (c *checking) wantDialed(want ...string) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if diff := cmp.Diff(want, slices.Compact(slices.Sorted(slices.Values(c.dialed)))); diff != "" {
		c.t.Errorf("dialed (-want +got):\n%s", diff)
	}
}

// byCheck are the rules of the node with a revision that has a check of a Service.
func byCheck(generation int64, service string, limit *int32) *source.NodeRules {
	out := assigned(generation, "r-2", 2, ipvsMode)
	out.Spec.Checks = []v1alpha1.RolloutCheck{{Name: "answers", Service: service, Port: 80, FailureLimit: limit}}
	return out
}

// TestChecks has a revision on trial, with a check of a Service.
func TestChecks(t *testing.T) {
	const address, named = "10.96.0.1:80", "check answers: Service default/web, port 80: the kernel says no"
	for name, tc := range map[string]struct {
		service string
		limit   *int32
		broken  error
		before  func(*checking)
		after   int                    // seconds
		phase   v1alpha1.RevisionPhase // then
		failure string
		then    func(*checking)
		within  int
		end     v1alpha1.RevisionPhase
		dialed  []string
	}{
		"it answers":                     {after: 20, phase: v1alpha1.RevisionVerified, end: v1alpha1.RevisionVerified, dialed: []string{address}},
		"it does not answer":             {broken: errRejected, after: 59, phase: v1alpha1.RevisionProgrammed, within: 2, end: v1alpha1.RevisionReverted, failure: named, dialed: []string{address}},
		"it does not answer, with limit": {broken: errRejected, limit: new(int32(1)), after: 3, phase: v1alpha1.RevisionReverted, end: v1alpha1.RevisionReverted, failure: named, dialed: []string{address}},
		"it answers later": {broken: errRejected, after: 30, phase: v1alpha1.RevisionProgrammed, then: func(c *checking) { c.answers(nil) }, within: 11,
			end: v1alpha1.RevisionVerified, dialed: []string{address}},
		"there is no such Service": {service: "default/api", after: 59, phase: v1alpha1.RevisionProgrammed, within: 2, end: v1alpha1.RevisionReverted,
			failure: "check answers: Service default/api, port 80: there is no such Service with a cluster IP: create it, or change the check"},
		"there is no endpoint until later": {before: func(c *checking) { c.store.SetSlice(agenttest.WebName, agenttest.Web("10.96.0.1"), time.Time{}) },
			after: 30, phase: v1alpha1.RevisionProgrammed, within: 20, end: v1alpha1.RevisionVerified, dialed: []string{address},
			then: func(c *checking) {
				c.wantDialed()
				c.store.SetSlice(agenttest.WebName, agenttest.Web("10.96.0.1", "10.244.1.3"), time.Time{})
			}},
		"it gets another address": {broken: errRejected, after: 30, phase: v1alpha1.RevisionProgrammed, within: 20, end: v1alpha1.RevisionVerified, dialed: []string{address, "10.96.0.7:80"},
			then: func(c *checking) {
				c.store.SetSlice(agenttest.WebName, agenttest.Web("10.96.0.7", "10.244.1.3"), time.Time{})
				c.answers(nil)
			}},
		"the check is taken away": {broken: errRejected, after: 30, phase: v1alpha1.RevisionProgrammed, within: 1, end: v1alpha1.RevisionVerified, dialed: []string{address},
			then: func(c *checking) { c.store.SetNode(assigned(3, "r-2", 2, ipvsMode)) }},
		"the kernel refuses the policy": {before: func(c *checking) { fail(c.ipvs, fake.Sync, 1000) }, after: 59, phase: v1alpha1.RevisionPreparing,
			within: 2, end: v1alpha1.RevisionReverted, failure: "the kernel says no"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, stop := newChecking(t)
				defer stop()
				if tc.before != nil {
					tc.before(c)
				}
				if tc.service == "" {
					tc.service = "default/web"
				}
				c.answers(tc.broken)
				c.store.SetNode(byCheck(2, tc.service, tc.limit))
				c.pass(tc.after)
				applied := map[v1alpha1.RevisionPhase]string{v1alpha1.RevisionProgrammed: "r-2", v1alpha1.RevisionVerified: "r-2", v1alpha1.RevisionReverted: "r-1"}
				c.wants(tc.phase, applied[tc.phase], "")
				if tc.then != nil {
					tc.then(c)
				}
				c.pass(tc.within)
				c.wants(tc.end, applied[tc.end], tc.failure)
				c.wantDialed(tc.dialed...)
				dialed := len(c.dialed)
				c.pass(600)
				if c.wants(tc.end, applied[tc.end], tc.failure); len(c.dialed) != dialed {
					t.Errorf("dialed %d times more", len(c.dialed)-dialed)
				}
			})
		})
	}
}

// TestChecksOfTheFirstRevision fails those of a revision without a way back: the node goes on
// trying.
func TestChecksOfTheFirstRevision(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, stop := newChecking(t)
		defer stop()
		left := assigned(2, "r-1", 1, nftablesMode)
		left.Spec.CleanUpSince = &metav1.Time{Time: time.Unix(1, 0)} // forgets r-1
		c.store.SetNode(left)
		c.pass(1)
		c.answers(errRejected)
		c.store.SetNode(byCheck(3, "default/web", new(int32(0))))
		c.pass(20)
		c.wants(v1alpha1.RevisionFailed, "r-2", "the kernel says no")
		c.answers(nil)
		c.pass(20)
		c.wants(v1alpha1.RevisionVerified, "r-2", "")
	})
}
