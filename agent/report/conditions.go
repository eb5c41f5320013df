// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"errors"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/agent/source"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// maxMessage bounds a condition's message, in bytes: it must be readable, and
// errors of thousands of Services must not make the object large.
const MaxMessage = 1024

// maxCapabilityMessage bounds what is said of a mode, in bytes.
const MaxCapabilityMessage = 256

// StatusOf makes the NodeRuleSet's status of a Snapshot. Messages hold no
// counts: they would make every change of a Service a write to the API.
func StatusOf(o Snapshot, previous []metav1.Condition, now metav1.Time) v1alpha1.NodeRuleSetStatus {
	status := v1alpha1.NodeRuleSetStatus{Mode: o.Mode, Capabilities: o.Capabilities}
	if o.Running != nil {
		status.ObservedGeneration = o.Running.Generation
		policy := o.Running.Spec.Policy
		status.Policy = &policy
		status.RulesDigest = source.FormatDigest(o.Digest)
		status.Programmed = &v1alpha1.ProgrammedCounts{
			Slices:    int32(o.Slices),
			Services:  int32(o.Counts.Services),
			Frontends: int32(o.Counts.Frontends),
			Endpoints: int32(o.Counts.Endpoints),
		}
	}
	if o.Repairs > 0 {
		status.Repairs = &v1alpha1.RepairCounts{Count: o.Repairs, LastTime: metav1.NewTime(o.LastRepair.Truncate(time.Second))}
	}
	for _, c := range []metav1.Condition{accepted(o), programmed(o), degraded(o)} {
		c.Message = Truncate(OneLine(c.Message), MaxMessage)
		c.ObservedGeneration = o.Node.Generation
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

func accepted(o Snapshot) metav1.Condition {
	const kind = v1alpha1.ConditionAccepted
	switch {
	case o.Unsupported != nil:
		return condition(kind, metav1.ConditionFalse, v1alpha1.ReasonModeUnsupported,
			o.Unsupported.Error()+". Set another mode or fallbackModes in the ProxyConfig; the rules programmed before stay in force.")
	case o.Settings != nil:
		return condition(kind, metav1.ConditionFalse, v1alpha1.ReasonInvalid, "Left out: "+o.Settings.Error())
	}
	return condition(kind, metav1.ConditionTrue, v1alpha1.ReasonAccepted, "The policy is in force on this node.")
}

func programmed(o Snapshot) metav1.Condition {
	const kind = v1alpha1.ConditionProgrammed
	switch {
	case o.Programming != nil:
		return condition(kind, metav1.ConditionFalse, v1alpha1.ReasonKernelError,
			o.Programming.Error()+". It is tried again; the rules programmed before stay in force.")
	case o.Running == nil && o.Unsupported != nil:
		return condition(kind, metav1.ConditionFalse, v1alpha1.ReasonModeUnsupported, "Nothing is programmed, see the condition Accepted.")
	case o.Running == nil:
		return condition(kind, metav1.ConditionUnknown, v1alpha1.ReasonProgramming, "The first programming has not ended yet.")
	case !o.FromAPI:
		return condition(kind, metav1.ConditionTrue, v1alpha1.ReasonFromCheckpoint, "The kernel holds the rules stored on the node; the apiserver has not answered yet.")
	case o.Running.Generation != o.Node.Generation:
		return condition(kind, metav1.ConditionFalse, v1alpha1.ReasonProgramming, "The kernel holds the rules of an older generation.")
	}
	return condition(kind, metav1.ConditionTrue, v1alpha1.ReasonProgrammed, "The kernel holds the desired rules.")
}

func degraded(o Snapshot) metav1.Condition {
	const kind = v1alpha1.ConditionDegraded
	switch {
	case o.Programming != nil:
		return condition(kind, metav1.ConditionTrue, v1alpha1.ReasonKernelError, o.Programming.Error())
	case o.Unsupported != nil:
		return condition(kind, metav1.ConditionTrue, v1alpha1.ReasonModeUnsupported, o.Unsupported.Error())
	case len(o.Malformed) > 0:
		return condition(kind, metav1.ConditionTrue, v1alpha1.ReasonSkippedRules,
			"Malformed entries of ServiceRuleSlices were left out: "+errors.Join(o.Malformed...).Error())
	case len(o.Limitations) > 0:
		var texts []string
		for _, l := range o.Limitations {
			texts = append(texts, l.String())
		}
		return condition(kind, metav1.ConditionTrue, v1alpha1.ReasonPartlyProgrammed, "Unsupported on this node: "+strings.Join(texts, "; ")+".")
	case o.Retiring != nil:
		return condition(kind, metav1.ConditionTrue, v1alpha1.ReasonRetiringFailed,
			"Rules of a mode that was in force before are left: "+o.Retiring.Error()+". It is tried again.")
	case o.Storing != nil:
		return condition(kind, metav1.ConditionTrue, v1alpha1.ReasonCheckpointFailed,
			o.Storing.Error()+". The node would boot with older rules. Free space on, or repair, the state folder.")
	case o.Forgetting != nil:
		return condition(kind, metav1.ConditionTrue, v1alpha1.ReasonConntrackFailed, "UDP flows may still go to endpoints that are gone: "+
			o.Forgetting.Error()+". It is tried again. The agent needs the capability NET_ADMIN, and the kernel the module nf_conntrack_netlink.")
	case o.Tuning != nil:
		return condition(kind, metav1.ConditionTrue, v1alpha1.ReasonConntrackSysctl, "A parameter of spec.conntrack is not in force: "+
			o.Tuning.Error()+". Set it on the machine (sysctl), take it out of the ProxyConfig, or let the agent write the machine's /proc/sys/net.")
	case o.Running != nil && o.Skipped != nil && o.Node.Spec.Mode != v1alpha1.ModeAuto:
		return condition(kind, metav1.ConditionTrue, v1alpha1.ReasonFallbackMode,
			fmt.Sprintf("Runs %s, as the policy's fallbackModes allow, and not %v.", o.Mode, o.Skipped))
	}
	return condition(kind, metav1.ConditionFalse, v1alpha1.ReasonHealthy, "Nothing is wrong.")
}

// OneLine joins the lines of joined errors.
func OneLine(s string) string { return strings.ReplaceAll(s, "\n", "; ") }

// Truncate returns s in at most limit bytes, and shows where something is missing.
func Truncate(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	const more = " ..."
	return s[:limit-len(more)] + more
}
