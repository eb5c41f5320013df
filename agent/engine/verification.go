// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/utils/clock"

	"github.com/fairlead-proxy/fairlead/agent/check"
	"github.com/fairlead-proxy/fairlead/agent/report"
	"github.com/fairlead-proxy/fairlead/agent/source"
	"github.com/fairlead-proxy/fairlead/agent/state"
	"github.com/fairlead-proxy/fairlead/agent/trial"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// verification finds out whether the kernel can have the policy that the API asks for, and has
// the loop return to the one before if not. What that takes is in the package trial.
type verification struct {
	state   trial.State
	shown   trial.State // in the status
	returns int64       // to the policy before, since the agent started
	file    *state.Trial
	check   *check.Checks
	clock   clock.Clock
	log     logr.Logger

	programmed time.Time // since when the kernel has the policy without an error; zero: it has not
	checked    bool      // it was compared since

	due   time.Time // the deadline
	timer <-chan time.Time
}

func newVerification(file *state.Trial, checks *check.Checks, clk clock.Clock, log logr.Logger) verification {
	kept, err := file.Load()
	if err != nil {
		log.Error(err, "Failed to read which policy was verified last")
	}
	return verification{state: kept.Restored(clk.Now()), file: file, check: checks, clock: clk, log: log}
}

// admit returns the rules of the node that the kernel is to have: those that the API asks for,
// or the same with the policy that was verified last.
func (v *verification) admit(n *source.NodeRules) *source.NodeRules {
	v.advance(n.Spec, trial.Outcome{})
	v.file.Save(v.state.Kept())
	if v.state.Phase == v1alpha1.RevisionPending {
		v.programmed = time.Time{}
	}
	if v.state.Phase != v1alpha1.RevisionReverted {
		return n
	}
	back := *n
	back.Spec = v.state.Rules(n.Spec)
	return &back
}

// follow notes what came of a step.
func (v *verification) follow(l *Loop, did report.Step) {
	if v.state.Ended() {
		v.check.Stop()
		v.shown, v.timer, v.due = v.state, nil, time.Time{}
		return
	}
	o := v.withChecks(v.outcome(l, did), l)
	v.advance(l.newest.Spec, o)
	switch {
	case v.state.Phase == v1alpha1.RevisionReverted:
		source.Renew(l.store)
		return // it is shown with what comes of it
	case v.state.Ended():
		v.file.Save(v.state.Kept())
	case o.Programmed && !o.Checked && l.lookAt == nil:
		l.lookAt = l.clock.After(max(l.resync.afterNotification(), 1))
	}
	v.shown = v.state
	if due := v.state.Due(l.newest.Spec); !due.Equal(v.due) {
		v.due, v.timer = due, nil
		if !due.IsZero() {
			v.timer = v.clock.After(due.Sub(v.clock.Now()))
		}
	}
}

func (v *verification) advance(spec v1alpha1.NodeRuleSetSpec, o trial.Outcome) {
	before := v.state.Phase
	v.state = v.state.Next(spec, o, v.clock.Now())
	if v.state.Phase != before {
		if v.state.Phase == v1alpha1.RevisionReverted {
			v.returns++
		}
		v.log.Info("The revision has another phase", "revision", v.state.Revision, "phase", v.state.Phase, "before", before, "reason", v.state.LastError)
	}
}

// outcome says what came of the policy, once a step has ended.
func (v *verification) outcome(l *Loop, did report.Step) trial.Outcome {
	for _, kind := range []report.Kind{report.KernelError, report.ModeChangeFailed, report.ModeUnsupported, report.InvalidSettings} {
		if err := l.problems[kind]; err != nil {
			v.programmed = time.Time{}
			return trial.Outcome{Err: oneLine(err)}
		}
	}
	p := l.programmed
	if p == nil || p.Node != l.node || l.candidate != nil || !slices.Contains(l.demand.modes, p.Mode) {
		v.programmed = time.Time{}
		return trial.Outcome{}
	}
	if v.programmed.IsZero() {
		v.programmed, v.checked = v.clock.Now(), false
	} else if did.Synced {
		v.checked = true
	}
	// Without a trial the next regular look is soon enough.
	checked := v.checked || l.newest.Spec.AssignedTime == nil
	return trial.Outcome{Programmed: true, Checked: checked, Answered: l.store.Contact.Since(v.programmed)}
}

// withChecks adds what came of the checks. They run while the kernel has the policy.
func (v *verification) withChecks(o trial.Outcome, l *Loop) trial.Outcome {
	if !o.Programmed {
		v.check.Stop()
		return o
	}
	v.check.Run(targets(l.table, l.newest.Spec.Checks))
	unfit, err := v.check.Result()
	if o.Unfit = unfit; err != nil {
		o.CheckErr = oneLine(err)
	}
	return o
}

// targets returns what checks connect to, by the rules of the node.
func targets(table *resolve.Table, checks []v1alpha1.RolloutCheck) (out []check.Target) {
	for _, c := range checks {
		namespace, name, _ := strings.Cut(c.Service, "/")
		addresses, err := table.ClusterIPs(namespace, name, uint16(c.Port))
		out = append(out, check.Target{RolloutCheck: c, Addresses: addresses, Err: err})
	}
	return out
}

func oneLine(err error) string {
	return report.Truncate(report.OneLine(err.Error()), report.MaxRevisionError)
}

// reverted says that the node has returned to the policy before, and why; nil: it has not.
func (v *verification) reverted(spec v1alpha1.NodeRuleSetSpec) error {
	if v.shown.Phase != v1alpha1.RevisionReverted {
		return nil
	}
	return fmt.Errorf("the node has returned to the revision %s, because %s was not verified in time: %s",
		cmp.Or(v.shown.Rules(spec).Revision, "before"), v.shown.Revision, v.shown.LastError)
}

// forget forgets all revisions: the node is cleaned up, and has nothing to return to.
func (v *verification) forget() {
	if v.state.Phase == "" {
		return
	}
	v.check.Stop()
	v.state, v.programmed, v.due, v.timer = trial.State{}, time.Time{}, time.Time{}, nil
	v.shown = v.state
	v.file.Save(v.state)
}
