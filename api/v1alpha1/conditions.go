// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Condition types of ProxyConfig.
const (
	// ConditionAccepted is True if the object is valid and in effect. It is set
	// on ProxyConfig (by the controller) and on NodeRuleSet (by the agent).
	ConditionAccepted = "Accepted"

	// ConditionAvailable is True while every selected node forwards traffic
	// with some programmed rules. False needs action at once.
	ConditionAvailable = "Available"

	// ConditionProgressing is True while nodes are moving to the current
	// generation of the policy.
	ConditionProgressing = "Progressing"

	// ConditionDegraded is True while some node does not run all of the desired
	// state. It is set on ProxyConfig and on NodeRuleSet.
	ConditionDegraded = "Degraded"

	// ConditionProtected is True on a ProxyConfig if the admission policies of the
	// installation are enforced: only the controller writes rules, and an agent reports
	// for its own node only. It is the same on all ProxyConfigs.
	ConditionProtected = "Protected"

	// ConditionKubeProxyReplaced is True on a ProxyConfig with spec.kubeProxy if its nodes have
	// taken over from kube-proxy, and on a NodeRuleSet with spec.kubeProxy if the node has neither
	// kube-proxy nor rules of it.
	ConditionKubeProxyReplaced = "KubeProxyReplaced"

	// ConditionProgrammed is True on a NodeRuleSet if the node's kernel has the
	// desired rules.
	ConditionProgrammed = "Programmed"
)

// Condition types of ProxyRollout, besides Progressing, which is True while nodes get the
// revision or verify it.
const (
	// ConditionPrechecked is True if all nodes can run the revision, and the one to return to
	// is there. False keeps the rollout from beginning.
	ConditionPrechecked = "Prechecked"

	// ConditionSoaked is True if all stages but the last one are done.
	ConditionSoaked = "Soaked"

	// ConditionSucceeded is True if all nodes that are ready run the revision, and False if
	// the rollout has failed or was aborted.
	ConditionSucceeded = "Succeeded"

	// ConditionRolledBack is True if all nodes are to have the revision before.
	ConditionRolledBack = "RolledBack"

	// ConditionSuperseded is True if the ProxyConfig has asked for another revision since.
	ConditionSuperseded = "Superseded"
)

// Reasons of Accepted.
const (
	// ReasonPending is the default reason: the object has not been processed yet.
	ReasonPending = "Pending"

	// ReasonAccepted is set when the object is in effect.
	ReasonAccepted = "Accepted"

	// ReasonOverridden is set on a ProxyConfig that selects nodes of which some
	// use another ProxyConfig (with a higher priority, or older).
	ReasonOverridden = "Overridden"

	// ReasonNoNodes is set on a ProxyConfig that selects no node.
	ReasonNoNodes = "NoNodesSelected"

	// ReasonNotSelected is set on a NodeRuleSet that no ProxyConfig selects any more, while
	// its agent cleans up the node.
	ReasonNotSelected = "NotSelected"

	// ReasonInvalid is set when an object passed the API's validation but is
	// invalid; the message describes what to change.
	ReasonInvalid = "Invalid"

	// ReasonModeUnsupported is set on a NodeRuleSet whose node supports neither
	// the desired mode nor a fallback mode.
	ReasonModeUnsupported = "ModeUnsupported"
)

// Reasons of Protected.
const (
	// ReasonPoliciesEnforced is set when all admission policies exist and deny.
	ReasonPoliciesEnforced = "AdmissionPoliciesEnforced"

	// ReasonPoliciesMissing is set when an admission policy does not exist, or no binding lets
	// it deny. OLM does not install them.
	ReasonPoliciesMissing = "AdmissionPoliciesMissing"

	// ReasonPoliciesUnknown is set when the controller cannot read the admission policies.
	ReasonPoliciesUnknown = "AdmissionPoliciesUnknown"
)

// Reasons of KubeProxyReplaced, besides NodesPending and NoNodesSelected.
const (
	// ReasonReplaced is set when neither kube-proxy nor its rules are on the node, or on any of
	// the nodes.
	ReasonReplaced = "Replaced"

	// ReasonKubeProxyFound is set on a NodeRuleSet whose node is to take over, and has a kube-proxy, or rules
	// of it, or may have some.
	ReasonKubeProxyFound = "KubeProxyFound"

	// ReasonKubeProxyUnknown is set on a NodeRuleSet before the agent has looked for kube-proxy, and
	// on a ProxyRollout before the controller has looked at its DaemonSet.
	ReasonKubeProxyUnknown = "KubeProxyUnknown"

	// ReasonMissingPermission is set when the controller has not the rights of config/takeover.
	ReasonMissingPermission = "MissingPermission"

	// ReasonDaemonSetNotFound is set when there is no DaemonSet spec.kubeProxy.daemonSet.
	ReasonDaemonSetNotFound = "DaemonSetNotFound"

	// ReasonDaemonSetSkipsNodes is set when kube-proxy's DaemonSet would have no Pod on nodes that are to give
	// back. The message says why, and what to change.
	ReasonDaemonSetSkipsNodes = "DaemonSetSkipsNodes"

	// ReasonDaemonSetOwned is set when kube-proxy's DaemonSet belongs to Helm, Argo CD, an
	// add-on manager or another object. The message says what to change there.
	ReasonDaemonSetOwned = "DaemonSetOwned"

	// ReasonGivingBack is set while the node, or one of the nodes, is to give back to kube-proxy and has
	// not done so. On a NodeRuleSet the condition is Unknown then.
	ReasonGivingBack = "GivingBack"

	// ReasonGivenBack is set when kube-proxy serves the node, or all nodes, and the agents have
	// removed their rules; on a NodeRuleSet it is a reason of Programmed, too.
	ReasonGivenBack = "GivenBack"
)

// Reasons of Available, Progressing, Degraded and Programmed.
const (
	// ReasonProgrammed is set when the kernel has the desired rules.
	ReasonProgrammed = "Programmed"

	// ReasonProgramming is set during the first sync.
	ReasonProgramming = "Programming"

	// ReasonKernelError is set when the kernel rejected an operation; it is
	// retried with back-off, and the rules programmed before stay.
	ReasonKernelError = "KernelError"

	// ReasonCleanedUp is set on a NodeRuleSet that no ProxyConfig selects any more when
	// the agent has removed everything that it has programmed.
	ReasonCleanedUp = "CleanedUp"

	// ReasonCleanUpFailed is set when the agent cannot remove what it has programmed; it is
	// tried again.
	ReasonCleanUpFailed = "CleanUpFailed"

	// ReasonFromCheckpoint is set when the agent runs from its stored state,
	// because the apiserver has not answered yet.
	ReasonFromCheckpoint = "FromCheckpoint"

	// ReasonSkippedRules is set when a slice was malformed and skipped.
	ReasonSkippedRules = "SkippedRules"

	// ReasonRemovalHeld is set when ServiceRuleSlices are gone without the controller's mark,
	// or most endpoints at once, and the apiserver still has the Services and endpoints. Their
	// rules stay programmed.
	ReasonRemovalHeld = "RemovalHeld"

	// ReasonRefusedSlices is set when the agent refuses a ServiceRuleSlice that the
	// controller did not write. The last accepted content stays programmed.
	ReasonRefusedSlices = "RefusedSlices"

	// ReasonRevisionReverted is set when a revision was not verified in time, and the node has
	// returned to the one before, see NodeRuleSet.status.revision.
	ReasonRevisionReverted = "RevisionReverted"

	// ReasonPartlyProgrammed is set when the node does not support everything that
	// the policy needs; the message describes what, and what to change. Everything
	// else is programmed.
	ReasonPartlyProgrammed = "PartlyProgrammed"

	// ReasonPreviousModeCleanupFailed is set when rules of a previous mode are left
	// and cannot be removed; it is tried again.
	ReasonPreviousModeCleanupFailed = "PreviousModeCleanupFailed"

	// ReasonKubeProxyCleanupFailed is set when rules of a kube-proxy that the node has taken over
	// from are left and cannot be removed.
	ReasonKubeProxyCleanupFailed = "KubeProxyCleanupFailed"

	// ReasonCheckpointFailed is set when the agent cannot store the desired state
	// on the node.
	ReasonCheckpointFailed = "CheckpointFailed"

	// ReasonConntrackFailed is set when conntrack entries of flows to removed
	// endpoints cannot be deleted.
	ReasonConntrackFailed = "ConntrackFailed"

	// ReasonConntrackSysctl is set when a conntrack parameter cannot be set to the
	// value of the policy. Forwarding is not affected.
	ReasonConntrackSysctl = "ConntrackSysctl"

	// ReasonListenFailed is set when the agent cannot open a port for health checks or
	// metrics, because another program such as kube-proxy holds it. Forwarding is not
	// affected.
	ReasonListenFailed = "ListenFailed"

	// ReasonHealthy is the reason of Degraded=False.
	ReasonHealthy = "Healthy"

	// ReasonFallbackMode is set when a node runs a fallback mode.
	ReasonFallbackMode = "FallbackMode"

	// ReasonAllProgrammed is set when every selected node is programmed.
	ReasonAllProgrammed = "AllNodesProgrammed"

	// ReasonNodesFailing is set when some selected node is not programmed.
	ReasonNodesFailing = "NodesFailing"

	// ReasonAgentsNotReady is set on a ProxyConfig when the agents of some nodes do not
	// report.
	ReasonAgentsNotReady = "AgentsNotReady"

	// ReasonRolloutFailing is set on a ProxyConfig when nodes have failed a revision that is
	// rolled out, see ProxyRollout.status.failedNodes.
	ReasonRolloutFailing = "RolloutFailing"

	// ReasonNodesPending is set while some selected node has not reported on
	// the current generation.
	ReasonNodesPending = "NodesPending"
)
