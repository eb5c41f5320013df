// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package model

// UnusedReason is why an endpoint of a Service gets no new connections; empty: it gets some.
type UnusedReason string

// The reasons that are the same on all nodes: the endpoint is in no slice.
const (
	// UnusedNotReady means that the endpoint is not ready.
	UnusedNotReady UnusedReason = "NotReady"
	// UnusedNotServing means that the endpoint terminates, and serves no more.
	UnusedNotServing UnusedReason = "NotServing"
	// UnusedTerminating means that the endpoint terminates, and others are ready.
	UnusedTerminating UnusedReason = "Terminating"
	// UnusedPortMissing means that the EndpointSlice has no port of the name and protocol of the
	// Service's port.
	UnusedPortMissing UnusedReason = "PortMissing"
)

// The reasons that depend on the node.
const (
	// UnusedOtherNode means that the traffic policy is Local, and the endpoint is on another node.
	UnusedOtherNode UnusedReason = "OtherNode"
	// UnusedNodeHint means that hints assign the endpoint to clients on other nodes.
	UnusedNodeHint UnusedReason = "HintedForOtherNodes"
	// UnusedZoneHint means that hints assign the endpoint to clients in other zones.
	UnusedZoneHint UnusedReason = "HintedForOtherZones"
)
