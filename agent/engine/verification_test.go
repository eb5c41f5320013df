// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/fake"
	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/agent/report"
	"github.com/fairlead-proxy/fairlead/agent/source"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// assigned are the rules of the node with a revision that is on trial.
func assigned(generation int64, name string, second int, modes ...v1alpha1.ProxyMode) *source.NodeRules {
	out := revision(generation, name)
	at := metav1.NewTime(time.Unix(int64(second), 0))
	out.Spec.AssignedTime, out.Spec.Mode, out.Spec.FallbackModes = &at, modes[0], modes[1:]
	return out
}

// give gives the node a revision.
func (c *changing) give(name string, second int, modes ...v1alpha1.ProxyMode) {
	c.generation++
	c.store.SetNode(assigned(c.generation, name, second, modes...))
	c.step(c.t.Context())
}

// verifyNow has the apiserver answer, and the loop look at the kernel.
func (c *changing) verifyNow() {
	c.time.Step(time.Second)
	c.store.Contact.Answered(c.time.Now())
	c.needSync = true
	c.step(c.t.Context())
}

// pass steps each second for some time.
func (c *changing) pass(seconds int) {
	for range seconds {
		c.time.Step(time.Second)
		select {
		case <-c.lookAt:
			c.lookAt, c.needSync = nil, true
		default:
		}
		c.step(c.t.Context())
	}
}

// status is what the loop reports.
func (h *harness) status() v1alpha1.NodeRuleSetStatus {
	return report.StatusOf(h.last, nil, metav1.Now())
}

// wantRevision checks what is reported of the revision, and which one the kernel has.
func (c *changing) wantRevision(name string, phase v1alpha1.RevisionPhase, applied, failure string) {
	c.t.Helper()
	s := c.status()
	if s.Revision == nil || s.Revision.Name != name || s.Revision.Phase != phase || s.AppliedRevision != applied || !strings.Contains(s.Revision.LastError, failure) ||
		(s.Revision.VerifiedTime != nil) != (phase == v1alpha1.RevisionVerified) {
		c.t.Errorf("reports %+v, applied %q; want %s %s, applied %q, error %q", s.Revision, s.AppliedRevision, name, phase, applied, failure)
	}
}

// newVerified is a loop that has verified the revision r-1 in NFTables.
func newVerified(t *testing.T) *changing {
	t.Helper()
	c := newChanging(t)
	c.store.NodeSynced()
	c.list()
	c.give("r-1", 1, nftablesMode)
	c.wantRevision("r-1", v1alpha1.RevisionProgrammed, "r-1", "")
	c.verifyNow()
	c.wantRevision("r-1", v1alpha1.RevisionVerified, "r-1", "")
	return c
}

// TestVerifiedByAllSigns leaves one sign after the other out.
func TestVerifiedByAllSigns(t *testing.T) {
	c := newVerified(t)
	c.store.Contact.Answered(c.time.Now())
	c.give("r-2", 2, ipvsMode)
	c.wantRevision("r-2", v1alpha1.RevisionProgrammed, "r-2", "")
	if c.lookAt == nil {
		t.Error("does not compare the kernel soon")
	}
	c.needSync = true
	c.step(t.Context())
	c.wantRevision("r-2", v1alpha1.RevisionProgrammed, "r-2", "") // no answer
	c.time.Step(time.Second)
	<-c.store.Wakeup
	c.store.Contact.Answered(c.time.Now())
	select {
	case <-c.store.Wakeup:
	default:
		t.Error("the answer does not wake the loop")
	}
	c.kernel.Fail(fake.Cleanup, errRejected) // no error of the revision
	c.step(t.Context())
	c.wantRevision("r-2", v1alpha1.RevisionVerified, "r-2", "")

	c.give("r-3", 3, iptablesMode)
	c.time.Step(time.Second)
	c.store.Contact.Answered(c.time.Now())
	c.step(t.Context())
	c.wantRevision("r-3", v1alpha1.RevisionProgrammed, "r-3", "") // not compared
	c.needSync = true
	c.step(t.Context())
	c.wantRevision("r-3", v1alpha1.RevisionVerified, "r-3", "")
}

// TestReturns gives the node a revision that it cannot verify, in several ways. At the deadline it
// returns to the one before, with all that has changed since, and never without rules.
func TestReturns(t *testing.T) {
	for name, tc := range map[string]struct {
		before func(*changing)
		modes  []v1alpha1.ProxyMode
		phase  v1alpha1.RevisionPhase // until the deadline
		reason string
	}{
		"the kernel refuses it": {func(c *changing) { fail(c.ipvs, fake.Sync, 1000) }, []v1alpha1.ProxyMode{ipvsMode},
			v1alpha1.RevisionPreparing, "the kernel says no"},
		"the kernel cannot run it": {func(c *changing) { c.ipvs.Fail(fake.Probe, errNoModule, errNoModule) }, []v1alpha1.ProxyMode{ipvsMode},
			v1alpha1.RevisionPreparing, errNoModule.Error()},
		"nor the one to fall back to": {func(c *changing) { fail(c.ipvs, fake.Sync, 1000); fail(c.iptables, fake.Sync, 1000) }, []v1alpha1.ProxyMode{ipvsMode, iptablesMode},
			v1alpha1.RevisionPreparing, "the kernel says no"},
		"the apiserver does not answer any more": {func(*changing) {}, []v1alpha1.ProxyMode{ipvsMode},
			v1alpha1.RevisionProgrammed, "the apiserver has not answered since it is programmed"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newVerified(t)
			tc.before(c)
			rules := func(m fake.Method) {
				if m != fake.Close && len(c.kernel.Kernel().Frontends)+len(c.ipvs.Kernel().Frontends)+len(c.iptables.Kernel().Frontends) == 0 {
					t.Errorf("before a %s the node has no rules", m)
				}
			}
			c.kernel.On, c.ipvs.On = rules, rules
			c.give("r-2", 2, tc.modes...)
			c.pass(58)
			c.wantRevision("r-2", tc.phase, c.applied(), "")
			spec := c.endpoint(77)
			c.generation++
			newer := assigned(c.generation, "r-2", 2, tc.modes...)
			newer.Spec.Node.Zone = "z"
			c.store.SetNode(newer)
			c.pass(3)
			c.wantRevision("r-2", v1alpha1.RevisionReverted, "r-1", tc.reason)
			if c.dp.Mode() != nftablesMode || c.candidate != nil || c.last.Mode() != nftablesMode || c.node.Spec.Node.Zone != "z" {
				t.Errorf("%s is active, candidate %v, zone %q", c.dp.Mode(), c.candidate, c.node.Spec.Node.Zone)
			}
			c.wantKernel(t, spec)
			want := map[string]string{"Accepted": "False/RevisionReverted", "Programmed": "False/RevisionReverted", "Degraded": "True/RevisionReverted"}
			got := map[string]string{}
			for _, condition := range c.status().Conditions {
				got[condition.Type] = string(condition.Status) + "/" + condition.Reason
				if !strings.Contains(condition.Message, "the node has returned to the revision r-1, because r-2 was not verified in time: ") || !strings.Contains(condition.Message, tc.reason) {
					t.Errorf("%s: %s", condition.Type, condition.Message)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" || !c.last.UpToDate() {
				t.Errorf("up to date: %v, conditions (-want +got):\n%s", c.last.UpToDate(), diff)
			}
			if c.last.Returns != 1 {
				t.Errorf("returned %d times", c.last.Returns)
			}
			if c.timerIsSet() || len(c.installed.Others(nftablesMode)) > 0 {
				t.Errorf("waits for a deadline: %v; left: %v", c.timerIsSet(), c.installed.Others(nftablesMode))
			}
		})
	}
}

func (c *changing) timerIsSet() bool { return c.verify.timer != nil }

// TestReturnIsReportedWhenItIsMade looks at each report: Reverted is one of the revision before.
func TestReturnIsReportedWhenItIsMade(t *testing.T) {
	c := newVerified(t)
	before := c.report
	c.report = func(s report.Snapshot) {
		before(s)
		if status := c.status(); status.Revision.Phase == v1alpha1.RevisionReverted && status.AppliedRevision != "r-1" {
			t.Errorf("reports %s with %s", status.Revision.Phase, status.AppliedRevision)
		}
	}
	c.give("r-2", 2, ipvsMode)
	c.wantRevision("r-2", v1alpha1.RevisionProgrammed, "r-2", "")
	c.pass(61)
	c.wantRevision("r-2", v1alpha1.RevisionReverted, "r-1", "")
}

// TestRevertedIsNotTriedAgain follows Services for an hour after a return, and then has the
// revision given again.
func TestRevertedIsNotTriedAgain(t *testing.T) {
	c := newVerified(t)
	fail(c.ipvs, fake.Sync, 1000)
	c.give("r-2", 2, ipvsMode)
	c.pass(61)
	tried := c.ipvs.Count(fake.Sync)
	for i := range 60 {
		spec := c.endpoint(10 + i)
		c.time.Step(time.Minute)
		c.needSync = true
		c.step(t.Context())
		c.wantKernel(t, spec)
	}
	c.give("r-2", 2, ipvsMode, iptablesMode) // the same, though it has another content
	c.wantRevision("r-2", v1alpha1.RevisionReverted, "r-1", "the kernel says no")
	if got := c.ipvs.Count(fake.Sync); got != tried || c.iptables.Count(fake.Sync) != 0 {
		t.Errorf("tried %d times more", got-tried)
	}
	c.ipvs.Fail(fake.Sync) // which takes no error away
	c.give("r-2", 3, iptablesMode)
	c.verifyNow()
	c.wantRevision("r-2", v1alpha1.RevisionVerified, "r-2", "")
	if c.last.Problem(report.RevisionReverted) != nil || c.dp.Mode() != iptablesMode {
		t.Errorf("%s is active, problems %v", c.dp.Mode(), c.last.Problems)
	}
}

// TestFallbackIsVerified programs a fallback mode, which the policy allows.
func TestFallbackIsVerified(t *testing.T) {
	c := newVerified(t)
	c.ipvs.Fail(fake.Probe, errNoModule, errNoModule)
	c.give("r-2", 2, ipvsMode, iptablesMode)
	c.verifyNow()
	c.wantRevision("r-2", v1alpha1.RevisionVerified, "r-2", "")
}

// TestWithoutAWayBack gives a node a first revision, and another one gets one without a time of
// assignment: they are tried on, whatever the deadline.
func TestWithoutAWayBack(t *testing.T) {
	for name, tc := range map[string]struct {
		loop func(*testing.T) *changing
		give *source.NodeRules
	}{
		"the first revision": {func(t *testing.T) *changing {
			c := newChanging(t)
			c.store.NodeSynced()
			c.list()
			return c
		}, assigned(5, "r-2", 2, ipvsMode)},
		"without a time of assignment": {newVerified, func() *source.NodeRules {
			n := assigned(5, "r-2", 2, ipvsMode)
			n.Spec.AssignedTime = nil
			return n
		}()},
	} {
		t.Run(name, func(t *testing.T) {
			c := tc.loop(t)
			fail(c.ipvs, fake.Sync, 40)
			c.store.SetNode(tc.give)
			c.step(t.Context())
			c.pass(61)
			if s := c.status(); s.Revision.Phase != v1alpha1.RevisionFailed || !strings.Contains(s.Revision.LastError, "the kernel says no") {
				t.Errorf("reports %+v", s.Revision)
			}
			if c.last.Problem(report.RevisionReverted) != nil {
				t.Errorf("reports %v", c.last.Problems)
			}
			c.pass(1000)
			c.verifyNow()
			c.wantRevision("r-2", v1alpha1.RevisionVerified, "r-2", "")
			c.wantActive(ipvsMode, 5)
		})
	}
}

// TestCleanUpForgetsRevisions cleans the node up: it has nothing to return to after that.
func TestCleanUpForgetsRevisions(t *testing.T) {
	c := newVerified(t)
	c.generation++
	left := assigned(c.generation, "r-1", 1, nftablesMode)
	left.Spec.CleanUpSince = &metav1.Time{Time: time.Unix(1, 0)}
	c.store.SetNode(left)
	c.step(t.Context())
	if s := c.status(); s.Revision != nil || s.AppliedRevision != "" {
		t.Errorf("reports %+v, applied %q", s.Revision, s.AppliedRevision)
	}
	fail(c.ipvs, fake.Sync, 1000)
	c.give("r-2", 2, ipvsMode)
	c.pass(61)
	c.wantRevision("r-2", v1alpha1.RevisionFailed, "", "the kernel says no")
}

// TestRunVerifiesAndReturns has the loop run by itself, with its own timers: nothing else happens.
func TestRunVerifiesAndReturns(t *testing.T) {
	for name, tc := range map[string]struct {
		answers bool // of the apiserver, with the second revision
		phase   v1alpha1.RevisionPhase
		applied string
		within  time.Duration
	}{
		"verified": {true, v1alpha1.RevisionVerified, "r-2", 20 * time.Second},
		"reverted": {false, v1alpha1.RevisionReverted, "r-1", 61 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t)
				h.add(fake.Mode(ipvsMode, dataplane.LoadBalancer, fake.New()))
				var last report.Snapshot
				h.report = func(s report.Snapshot) { last = s }
				ctx, stop := context.WithCancel(t.Context())
				ended := make(chan struct{})
				go func() { defer close(ended); h.Run(ctx) }()
				h.store.NodeSynced()
				h.store.ReplaceSlices(agenttest.Listed(agenttest.Web("10.96.0.1", "10.244.1.2")), true)
				pass := func(answers bool, d time.Duration) {
					for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(15 * time.Second) {
						if answers {
							h.store.Contact.Answered(time.Now())
						}
					}
					synctest.Wait()
				}
				h.store.SetNode(assigned(1, "r-1", 1, nftablesMode))
				pass(true, 20*time.Second)
				h.store.SetNode(assigned(2, "r-2", 2, ipvsMode))
				pass(tc.answers, tc.within)
				s := report.StatusOf(last, nil, metav1.Now())
				if s.Revision == nil || s.Revision.Phase != tc.phase || s.AppliedRevision != tc.applied {
					t.Errorf("reports %+v, applied %q", s.Revision, s.AppliedRevision)
				}
				stop()
				<-ended
			})
		})
	}
}
