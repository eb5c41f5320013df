// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package agent

// The agent reads its own NodeRuleSet and the ServiceRuleSlices and writes its
// own status and heartbeat. RBAC cannot limit reads and writes to one node's object;
// that status and heartbeat are its own node's is for config/admission to say. Before it
// removes rules whose slices the controller has not deleted, it reads their Services.
//
// +kubebuilder:rbac:roleName=agent-role,groups=proxy.fairlead.dev,resources=noderulesets;serviceruleslices,verbs=get;list;watch
// +kubebuilder:rbac:roleName=agent-role,groups=proxy.fairlead.dev,resources=noderulesets/status,verbs=patch
// +kubebuilder:rbac:roleName=agent-role,groups=proxy.fairlead.dev,resources=nodeheartbeats,verbs=create;patch
// +kubebuilder:rbac:roleName=agent-role,groups="",resources=services,verbs=get
// +kubebuilder:rbac:roleName=agent-role,groups=discovery.k8s.io,resources=endpointslices,verbs=list
// +kubebuilder:rbac:roleName=agent-role,groups=events.k8s.io,resources=events,verbs=create
