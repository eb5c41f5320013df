// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Reasons of the events on Services.
const (
	// EventEndpointSkipped is used when an endpoint or port of an EndpointSlice was
	// left out.
	EventEndpointSkipped = "EndpointSkipped"

	// EventFieldSkipped is used when an address, port or range of the Service itself
	// was left out.
	EventFieldSkipped = "FieldSkipped"

	// EventAddressConflict is used when another Service gets the traffic to an address
	// and port of this one.
	EventAddressConflict = "AddressConflict"

	// EventRulesNotWritten is used when the apiserver did not take the rules. It is
	// tried again, and the nodes keep the rules they have.
	EventRulesNotWritten = "RulesNotWritten"

	// EventHealthCheckFailed is used when a node cannot answer the health checks of the
	// Service. It is kube-proxy's.
	EventHealthCheckFailed = "FailedToStartServiceHealthcheck"
)

// Reasons of the events on Nodes, NodeRuleSets and ProxyConfigs.
const (
	// EventNodeFactSkipped is used when an address or Pod range of the Node, or a range
	// of cluster IPs, was left out of its NodeRuleSet.
	EventNodeFactSkipped = "NodeFactSkipped"

	// EventRulesRepaired is used on a NodeRuleSet when rules were modified externally
	// and the agent has restored them.
	EventRulesRepaired = "RulesRepaired"

	// EventAgentInstallFailed is used on ProxyConfigs when the agent's DaemonSet could
	// not be written. It is tried again.
	EventAgentInstallFailed = "AgentInstallFailed"
)
