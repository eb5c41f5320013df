// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Reasons of the events on Services.
const (
	// EventEndpointSkipped is used when an endpoint or port of an EndpointSlice was
	// skipped.
	EventEndpointSkipped = "EndpointSkipped"

	// EventFieldSkipped is used when an address, port or range of the Service itself
	// was skipped.
	EventFieldSkipped = "FieldSkipped"

	// EventAddressConflict is used when another Service receives the traffic to an address
	// and port of this one.
	EventAddressConflict = "AddressConflict"

	// EventRulesNotWritten is used when the apiserver rejected the rules. The write is
	// retried, and the nodes keep the rules they have.
	EventRulesNotWritten = "RulesNotWritten"

	// EventForeignSlice is used when the controller has deleted or overwritten a
	// ServiceRuleSlice that it did not write. If the Service does not exist, the event is on
	// the slice.
	EventForeignSlice = "ForeignSlice"

	// EventHealthCheckFailed is used when a node cannot serve the health checks of the
	// Service. The reason is kube-proxy's.
	EventHealthCheckFailed = "FailedToStartServiceHealthcheck"
)

// Reasons of the events on Nodes, NodeRuleSets and ProxyConfigs.
const (
	// EventNodeFactSkipped is used when an address or Pod CIDR of the Node, or a
	// ServiceCIDR, was skipped in its NodeRuleSet.
	EventNodeFactSkipped = "NodeFactSkipped"

	// EventNotCleanedUp is used on a Node when its agent has not reported in time that it
	// has removed what it has programmed, see ProxyConfig.spec.deletionPolicy.
	EventNotCleanedUp = "NotCleanedUp"

	// EventRevisionUnusable is used on a ProxyConfig when a revision that a node is to have is
	// missing or was altered. The node keeps the policy that it has.
	EventRevisionUnusable = "RevisionUnusable"

	// EventKubeProxyExcluded is used on a ProxyConfig when the controller has added to
	// kube-proxy's DaemonSet what keeps it off nodes that have taken over from it. What keeps the
	// controller from that has an event with the reason of the condition KubeProxyReplaced.
	EventKubeProxyExcluded = "KubeProxyExcluded"

	// EventKubeProxyRestored is used on a ProxyConfig when the controller has removed that again.
	EventKubeProxyRestored = "KubeProxyRestored"

	// EventRollout and the phase is used on a ProxyRollout when its phase or stage changes.
	EventRollout = "Rollout"

	// EventRulesRepaired is used on a NodeRuleSet when rules were modified externally
	// and the agent has restored them.
	EventRulesRepaired = "RulesRepaired"

	// EventRevisionReverted is used on a NodeRuleSet when the agent could not verify a revision in
	// time, and has returned to the one before.
	EventRevisionReverted = "RevisionReverted"

	// EventRemovalHeld is used on a NodeRuleSet when ServiceRuleSlices are gone or have lost
	// most endpoints, and the apiserver still has the Services and endpoints: the node keeps
	// their rules.
	EventRemovalHeld = "RemovalHeld"

	// EventAgentInstallFailed is used on ProxyConfigs when the agent's DaemonSet, or the
	// ConfigMap with the apiserver's addresses, could not be applied. It is retried.
	EventAgentInstallFailed = "AgentInstallFailed"
)
