// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// maxMessage bounds a condition's message, in bytes: it must be readable, and
// errors of thousands of Services must not make the object large.
const maxMessage = 1024

// maxCapabilityMessage bounds what is said of a mode, in bytes.
const maxCapabilityMessage = 256

// statusOf makes the NodeRuleSet's status of an outcome. Messages hold no
// counts: they would make every change of a Service a write to the API.
func statusOf(o outcome, previous []metav1.Condition, now metav1.Time) v1alpha1.NodeRuleSetStatus {
	status := v1alpha1.NodeRuleSetStatus{Mode: o.mode, Capabilities: o.capabilities}
	if o.running != nil {
		status.ObservedGeneration = o.running.Generation
		policy := o.running.Spec.Policy
		status.Policy = &policy
		status.RulesDigest = formatDigest(o.digest)
		status.Programmed = &v1alpha1.ProgrammedCounts{
			Slices:    int32(o.slices),
			Services:  int32(o.counts.Services),
			Frontends: int32(o.counts.Frontends),
			Endpoints: int32(o.counts.Endpoints),
		}
	}
	if o.repairs > 0 {
		status.Repairs = &v1alpha1.RepairCounts{Count: o.repairs, LastTime: metav1.NewTime(o.lastRepair.Truncate(time.Second))}
	}
	for _, c := range []metav1.Condition{accepted(o), programmed(o), degraded(o)} {
		c.Message = truncate(oneLine(c.Message), maxMessage)
		c.ObservedGeneration = o.node.Generation
		c.LastTransitionTime = now
		for _, p := range previous {
			if p.Type == c.Type && p.Status == c.Status {
				c.LastTransitionTime = p.LastTransitionTime
			}
		}
		status.Conditions = append(status.Conditions, c)
	}
	return status
}

func condition(kind string, status metav1.ConditionStatus, reason, message string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message}
}

func accepted(o outcome) metav1.Condition {
	const kind = v1alpha1.ConditionAccepted
	switch {
	case o.unsupported != nil:
		return condition(kind, metav1.ConditionFalse, v1alpha1.ReasonModeUnsupported,
			o.unsupported.Error()+". Set another mode or fallbackModes in the ProxyConfig; the rules programmed before stay in force.")
	case o.settings != nil:
		return condition(kind, metav1.ConditionFalse, v1alpha1.ReasonInvalid, "Left out: "+o.settings.Error())
	}
	return condition(kind, metav1.ConditionTrue, v1alpha1.ReasonAccepted, "The policy is in force on this node.")
}

func programmed(o outcome) metav1.Condition {
	const kind = v1alpha1.ConditionProgrammed
	switch {
	case o.programming != nil:
		return condition(kind, metav1.ConditionFalse, v1alpha1.ReasonKernelError,
			o.programming.Error()+". It is tried again; the rules programmed before stay in force.")
	case o.running == nil && o.unsupported != nil:
		return condition(kind, metav1.ConditionFalse, v1alpha1.ReasonModeUnsupported, "Nothing is programmed, see the condition Accepted.")
	case o.running == nil:
		return condition(kind, metav1.ConditionUnknown, v1alpha1.ReasonProgramming, "The first programming has not ended yet.")
	case !o.fromAPI:
		return condition(kind, metav1.ConditionTrue, v1alpha1.ReasonFromCheckpoint, "The kernel holds the rules stored on the node; the apiserver has not answered yet.")
	case o.running.Generation != o.node.Generation:
		return condition(kind, metav1.ConditionFalse, v1alpha1.ReasonProgramming, "The kernel holds the rules of an older generation.")
	}
	return condition(kind, metav1.ConditionTrue, v1alpha1.ReasonProgrammed, "The kernel holds the desired rules.")
}

func degraded(o outcome) metav1.Condition {
	const kind = v1alpha1.ConditionDegraded
	switch {
	case o.programming != nil:
		return condition(kind, metav1.ConditionTrue, v1alpha1.ReasonKernelError, o.programming.Error())
	case o.unsupported != nil:
		return condition(kind, metav1.ConditionTrue, v1alpha1.ReasonModeUnsupported, o.unsupported.Error())
	case len(o.malformed) > 0:
		return condition(kind, metav1.ConditionTrue, v1alpha1.ReasonSkippedRules,
			"Malformed entries of ServiceRuleSlices were left out: "+errors.Join(o.malformed...).Error())
	case o.lacking != nil:
		return condition(kind, metav1.ConditionTrue, v1alpha1.ReasonPartlyProgrammed, "Not in force: "+o.lacking.Error()+".")
	case o.retiring != nil:
		return condition(kind, metav1.ConditionTrue, v1alpha1.ReasonRetiringFailed,
			"Rules of a mode that was in force before are left: "+o.retiring.Error()+". It is tried again.")
	case o.storing != nil:
		return condition(kind, metav1.ConditionTrue, v1alpha1.ReasonCheckpointFailed,
			o.storing.Error()+". The node would boot with older rules. Free space on, or repair, the state folder.")
	case o.forgetting != nil:
		return condition(kind, metav1.ConditionTrue, v1alpha1.ReasonConntrackFailed, "UDP flows may still go to endpoints that are gone: "+
			o.forgetting.Error()+". It is tried again. The agent needs the capability NET_ADMIN, and the kernel the module nf_conntrack_netlink.")
	case o.tuning != nil:
		return condition(kind, metav1.ConditionTrue, v1alpha1.ReasonConntrackSysctl, "A parameter of spec.conntrack is not in force: "+
			o.tuning.Error()+". Set it on the machine (sysctl), take it out of the ProxyConfig, or let the agent write the machine's /proc/sys/net.")
	case o.running != nil && o.skipped != nil && o.node.Spec.Mode != v1alpha1.ModeAuto:
		return condition(kind, metav1.ConditionTrue, v1alpha1.ReasonFallbackMode,
			fmt.Sprintf("Runs %s, as the policy's fallbackModes allow, and not %v.", o.mode, o.skipped))
	}
	return condition(kind, metav1.ConditionFalse, v1alpha1.ReasonHealthy, "Nothing is wrong.")
}

// oneLine joins the lines of joined errors.
func oneLine(s string) string { return strings.ReplaceAll(s, "\n", "; ") }

func truncate(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	const more = " ..."
	return s[:limit-len(more)] + more
}
