// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// Kind is a kind of problem. Their order is their severity, the most severe first.
type Kind int

// The kinds of problems.
const (
	KernelError           Kind = iota // the last programming failed
	NodeCleanup                       // what the node was programmed with cannot be removed, see deletionPolicy
	ModeChangeFailed                  // the mode that was chosen cannot be programmed, the one before goes on
	ModeUnsupported                   // this node can run none of the modes asked for
	RevisionReverted                  // the revision was not verified in time, the one before is active
	InvalidSettings                   // malformed parameters in the NodeRuleSet
	RemovalHeld                       // slices are gone, their Services are not
	RefusedSlices                     // slices that the controller has not written
	SkippedRules                      // malformed entries of slices
	Unsupported                       // limitations; made of Snapshot.Limitations
	PreviousModeCleanup               // what a previous mode has left cannot be removed
	KubeProxyCleanup                  // what kube-proxy has left cannot be removed
	JournalFailed                     // the journal cannot be written
	ConntrackFailed                   // stale entries of connection tracking cannot be deleted
	ConntrackSysctlFailed             // its parameters cannot be set
	ListenFailed                      // a port of the agent is not open
	FallbackMode                      // the mode is not the policy's first
	kinds
)

// Problem is something that is wrong on this node.
type Problem struct {
	Kind Kind
	Err  error
}

// Problems are what is wrong now, at most one of each kind. The zero value says that
// nothing is.
type Problems [kinds]error

// List returns the problems, the most severe first.
func (p *Problems) List() []Problem {
	var out []Problem
	for kind, err := range p {
		if err != nil {
			out = append(out, Problem{Kind(kind), err})
		}
	}
	return out
}

// sentences say what a kind of problem means: reason of the condition Degraded, and
// what stands before and after the error.
var sentences = [kinds]struct{ reason, before, after string }{
	KernelError: {v1alpha1.ReasonKernelError, "", ". The agent retries; the programmed rules stay active."},
	NodeCleanup: {v1alpha1.ReasonCleanUpFailed, "Not all rules are removed: ", ". The agent retries."},
	ModeChangeFailed: {v1alpha1.ReasonKernelError, "The mode cannot be changed to ",
		". The agent retries; the previous mode stays active."},
	ModeUnsupported:  {v1alpha1.ReasonModeUnsupported, "", ". Set another mode or fallbackModes in the ProxyConfig; the programmed rules stay active."},
	RevisionReverted: {v1alpha1.ReasonRevisionReverted, "", "."},
	RemovalHeld:      {v1alpha1.ReasonRemovalHeld, "Removal is held: ", "."},
	RefusedSlices:    {v1alpha1.ReasonRefusedSlices, "Foreign ServiceRuleSlices are refused: ", "."},
	SkippedRules:     {v1alpha1.ReasonSkippedRules, "Malformed entries of ServiceRuleSlices are skipped: ", "."},
	Unsupported:      {v1alpha1.ReasonPartlyProgrammed, "Unsupported on this node: ", "."},
	PreviousModeCleanup: {v1alpha1.ReasonPreviousModeCleanupFailed,
		"Rules of a previous mode are not cleaned up: ", ". The agent retries."},
	KubeProxyCleanup: {v1alpha1.ReasonKubeProxyCleanupFailed, "kube-proxy's rules are left: ",
		". The agent retries; its own rules are active."},
	JournalFailed: {v1alpha1.ReasonCheckpointFailed, "",
		". The node would boot with older rules. Free space in the state folder, or make it writable."},
	ConntrackFailed: {v1alpha1.ReasonConntrackFailed, "UDP flows may still go to endpoints that are gone: ",
		". The agent retries. It needs the capability NET_ADMIN and the module nf_conntrack_netlink."},
	ConntrackSysctlFailed: {v1alpha1.ReasonConntrackSysctl, "A parameter of spec.conntrack is not set: ",
		". Set it with sysctl, remove it from the ProxyConfig, or let the agent write /proc/sys/net."},
	ListenFailed: {v1alpha1.ReasonListenFailed, "",
		". Services work. The agent retries; stop the program that holds the port, such as kube-proxy."},
	FallbackMode: {v1alpha1.ReasonFallbackMode, "", "."},
}

// reason is the reason of Degraded for a kind; empty: the kind does not degrade the node.
func (k Kind) reason() string { return sentences[k].reason }

// sentence says what is wrong and what helps, in one line.
func (p Problem) sentence() string {
	s := sentences[p.Kind]
	return s.before + OneLine(p.Err.Error()) + s.after
}
