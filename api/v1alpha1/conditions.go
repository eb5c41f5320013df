// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Condition types of ProxyConfig.
const (
	// ConditionAccepted says whether the object is valid and in force. It is
	// used on ProxyConfig (by the controller) and on NodeRuleSet (by the agent).
	ConditionAccepted = "Accepted"

	// ConditionAvailable is True while every selected node forwards traffic
	// with some programmed rules. False means: somebody must act now.
	ConditionAvailable = "Available"

	// ConditionProgressing is True while nodes are moving to the current
	// generation of the policy.
	ConditionProgressing = "Progressing"

	// ConditionDegraded is True while some node does not run what it should.
	// It is used on ProxyConfig and on NodeRuleSet.
	ConditionDegraded = "Degraded"

	// ConditionProgrammed says on a NodeRuleSet whether the node's kernel holds
	// the desired rules.
	ConditionProgrammed = "Programmed"
)

// Reasons of Accepted.
const (
	// ReasonPending is the default reason: nobody has looked at the object yet.
	ReasonPending = "Pending"

	// ReasonAccepted is set when the object is in force.
	ReasonAccepted = "Accepted"

	// ReasonOverridden is set on a ProxyConfig that selects nodes, of which
	// some are won by another ProxyConfig (higher priority, else older).
	ReasonOverridden = "Overridden"

	// ReasonNoNodes is set on a ProxyConfig that selects no node.
	ReasonNoNodes = "NoNodesSelected"

	// ReasonInvalid is set when an object passed the API's validation and is
	// wrong nevertheless; the message says what to change.
	ReasonInvalid = "Invalid"

	// ReasonModeUnsupported is set on a NodeRuleSet whose node can run neither
	// the mode asked for nor one of the fallback modes.
	ReasonModeUnsupported = "ModeUnsupported"

	// ReasonNodeMismatch is set on a NodeRuleSet whose facts do not fit the
	// machine that the agent runs on.
	ReasonNodeMismatch = "NodeMismatch"
)

// Reasons of Available, Progressing, Degraded and Programmed.
const (
	// ReasonProgrammed is set when the kernel holds the desired rules.
	ReasonProgrammed = "Programmed"

	// ReasonProgramming is set while the first complete programming runs.
	ReasonProgramming = "Programming"

	// ReasonKernelError is set when the kernel refused an operation; it is
	// retried with back-off, and what was programmed before stays.
	ReasonKernelError = "KernelError"

	// ReasonFromCheckpoint is set when the agent runs on the state it had
	// stored before, because the apiserver has not answered yet.
	ReasonFromCheckpoint = "FromCheckpoint"

	// ReasonSkippedRules is set when some slice was malformed and left out.
	ReasonSkippedRules = "SkippedRules"

	// ReasonPartlyProgrammed is set when the node cannot do some of what the policy
	// asks for; the message says what, and what to change. All else is in force.
	ReasonPartlyProgrammed = "PartlyProgrammed"

	// ReasonPreviousModeCleanupFailed is set when rules of a previous mode are left
	// and cannot be removed; it is tried again.
	ReasonPreviousModeCleanupFailed = "PreviousModeCleanupFailed"

	// ReasonCheckpointFailed is set when the agent cannot store the desired state
	// on the node.
	ReasonCheckpointFailed = "CheckpointFailed"

	// ReasonConntrackFailed is set when flows to endpoints that are gone cannot be
	// ended.
	ReasonConntrackFailed = "ConntrackFailed"

	// ReasonConntrackSysctl is set when a parameter of connection tracking cannot
	// be given the value that the policy asks for. Traffic is forwarded all the same.
	ReasonConntrackSysctl = "ConntrackSysctl"

	// ReasonHealthy is the reason of Degraded=False.
	ReasonHealthy = "Healthy"

	// ReasonFallbackMode is set when a node runs one of the fallback modes.
	ReasonFallbackMode = "FallbackMode"

	// ReasonAllProgrammed is set when every selected node is programmed.
	ReasonAllProgrammed = "AllNodesProgrammed"

	// ReasonNodesFailing is set when some selected node is not programmed.
	ReasonNodesFailing = "NodesFailing"

	// ReasonNodesPending is set while some selected node has not reported on
	// the current generation.
	ReasonNodesPending = "NodesPending"
)
