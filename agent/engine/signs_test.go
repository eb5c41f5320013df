// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/fairlead-proxy/fairlead/agent/dataplane/fake"
	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/agent/state"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// giveWithin gives the node a revision with a deadline in seconds.
func (c *changing) giveWithin(deadline int32, name string, second int, modes ...v1alpha1.ProxyMode) {
	c.generation++
	n := assigned(c.generation, name, second, modes...)
	n.Spec.NodeDeadlineSeconds = &deadline
	c.store.SetNode(n)
	c.step(c.t.Context())
}

// TestReasonOfTheFirstFailures returns before a mode has failed so often that it counts as unsupported.
func TestReasonOfTheFirstFailures(t *testing.T) {
	c := newVerified(t)
	fail(c.ipvs, fake.Sync, 1000)
	c.giveWithin(1, "r-2", 2, ipvsMode)
	c.pass(2)
	c.wantRevision("r-2", v1alpha1.RevisionReverted, "r-1", "IPVS: the kernel says no")
}

// TestInvalidSettingsAreNotVerified gives a revision of which a part cannot be programmed.
func TestInvalidSettingsAreNotVerified(t *testing.T) {
	c := newVerified(t)
	c.generation++
	n := assigned(c.generation, "r-2", 2, nftablesMode)
	n.Spec.NodePort.Addresses = []string{"nowhere"}
	c.store.SetNode(n)
	c.step(t.Context())
	c.verifyNow()
	c.wantRevision("r-2", v1alpha1.RevisionPreparing, "r-2", "")
}

// TestSignsOfBefore has the kernel fail while a revision is on trial: what was seen before does not count.
func TestSignsOfBefore(t *testing.T) {
	c := newVerified(t)
	c.give("r-2", 2, ipvsMode)
	c.needSync = true
	c.step(t.Context()) // compared, and not answered
	c.ipvs.Fail(fake.Apply, errRejected)
	c.endpoint(9)
	c.step(t.Context())
	c.time.Step(time.Second)
	c.store.Contact.Answered(c.time.Now())
	c.time.Step(time.Second)
	c.step(t.Context()) // programmed again
	c.wantRevision("r-2", v1alpha1.RevisionProgrammed, "r-2", "")
	c.verifyNow()
	c.wantRevision("r-2", v1alpha1.RevisionVerified, "r-2", "")
}

// TestRevisionInSlices programs revisions together with so many Services that it takes several steps.
func TestRevisionInSlices(t *testing.T) {
	c := newVerified(t)
	all := func(between func()) {
		t.Helper()
		if !c.more {
			t.Fatal("one step has programmed everything")
		}
		for between(); c.more; {
			c.time.Step(time.Second)
			c.step(t.Context())
			if at := c.last.Programmed.Time; !at.Equal(c.time.Now()) {
				t.Errorf("at %s it says that it was programmed at %s", c.time.Now(), at)
			}
		}
	}
	c.store.SetSlice(giantName, giant(), time.Time{})
	c.give("r-2", 2, nftablesMode)
	c.wantRevision("r-2", v1alpha1.RevisionPreparing, "r-1", "")
	all(func() {})
	c.wantRevision("r-2", v1alpha1.RevisionProgrammed, "r-2", "")
	c.needSync = true
	c.step(t.Context()) // compared, and not answered

	// The node has other facts: what was seen before does not count.
	other := giant()
	other.ServiceName, other.ClusterIP, other.ExternalIPs = "other", "10.96.9.8", nil
	c.store.SetSlice(model.SliceNameOf(other), other, time.Time{})
	c.give("r-2", 2, nftablesMode)
	all(func() {
		c.time.Step(time.Second)
		c.store.Contact.Answered(c.time.Now())
	})
	c.wantRevision("r-2", v1alpha1.RevisionProgrammed, "r-2", "")
}

// TestVerifiedWithoutATrial gives a revision without a time of assignment: the kernel need not be compared first.
func TestVerifiedWithoutATrial(t *testing.T) {
	c := newVerified(t)
	c.generation++
	n := assigned(c.generation, "r-2", 2, ipvsMode)
	n.Spec.AssignedTime = nil
	c.store.SetNode(n)
	c.step(t.Context())
	c.time.Step(time.Second)
	c.store.Contact.Answered(c.time.Now())
	c.step(t.Context())
	c.wantRevision("r-2", v1alpha1.RevisionVerified, "r-2", "")
}

// TestLookOfATrial has Services change all the time: the look at the kernel is not put off by that.
func TestLookOfATrial(t *testing.T) {
	c := newVerified(t)
	c.give("r-2", 2, ipvsMode)
	at := c.lookAt
	c.endpoint(9)
	c.step(t.Context())
	if at == nil || c.lookAt != at {
		t.Error("the look is put off by a change")
	}
}

// TestTimerOfATrial has a trial without a way back, which goes on after its deadline.
func TestTimerOfATrial(t *testing.T) {
	c := newChanging(t)
	c.store.NodeSynced()
	c.list()
	fail(c.kernel, fake.Sync, 1000)
	c.giveWithin(2, "r-1", 1, nftablesMode)
	if !c.timerIsSet() {
		t.Error("waits for no deadline")
	}
	c.pass(3)
	c.wantRevision("r-1", v1alpha1.RevisionFailed, "", "the kernel says no")
	if c.timerIsSet() {
		t.Error("waits for a deadline that is over")
	}
}

// TestChecksEnd checks that a node tries no Service whose rules it may not have.
func TestChecksEnd(t *testing.T) {
	for name, change := range map[string]func(*checking){
		"the kernel fails": func(c *checking) {
			fail(c.ipvs, fake.Apply, 1000)
			fail(c.ipvs, fake.Sync, 1000)
			c.store.SetSlice(agenttest.WebName, agenttest.Web("10.96.0.1", "10.244.1.9"), time.Time{})
		},
		"the agent ends": func(c *checking) { c.end() },
		"the node is cleaned up": func(c *checking) {
			left := byCheck(3, "default/web", nil)
			left.Spec.CleanUpSince = &metav1.Time{Time: time.Unix(1, 0)}
			c.store.SetNode(left)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, stop := newChecking(t)
				defer stop()
				c.answers(errRejected)
				c.store.SetNode(byCheck(2, "default/web", nil))
				c.pass(10)
				change(c)
				c.pass(1)
				dialed := len(c.dialed)
				if dialed == 0 {
					t.Error("dialed nothing")
				}
				c.pass(40)
				if len(c.dialed) != dialed {
					t.Errorf("dialed %d times more", len(c.dialed)-dialed)
				}
			})
		})
	}
}

// TestCleanUpForgetsOnDisk checks that neither the next agent has a revision to return to.
func TestCleanUpForgetsOnDisk(t *testing.T) {
	c, dir := newChanging(t), t.TempDir()
	stop := c.onDisk(dir)
	c.store.NodeSynced()
	c.list()
	c.give("r-1", 1, nftablesMode)
	c.verifyNow()
	c.generation++
	left := assigned(c.generation, "r-1", 1, nftablesMode)
	left.Spec.CleanUpSince = &metav1.Time{Time: time.Unix(1, 0)}
	c.store.SetNode(left)
	c.step(t.Context())
	stop()
	file := state.OpenTrial(dir, func() {}, clock.RealClock{})
	defer file.Close()
	if kept, err := file.Load(); err != nil || kept.Phase != "" || kept.Verified != nil {
		t.Errorf("kept: %+v, error %v", kept, err)
	}
}
