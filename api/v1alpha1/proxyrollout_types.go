// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ProxyRollout is how a changed policy reaches the nodes of a ProxyConfig with the strategy
// Staged. The controller creates it; it has the name of the revision (a ControllerRevision)
// that is rolled out. The spec is what a person or a pipeline says.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=pxr,categories=fairlead
// +kubebuilder:printcolumn:name="Config",type=string,JSONPath=`.status.config`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Stage",type=string,JSONPath=`.status.stage`
// +kubebuilder:printcolumn:name="Nodes",type=integer,JSONPath=`.status.stages[-1:].total`
// +kubebuilder:printcolumn:name="Updated",type=integer,JSONPath=`.status.stages[-1:].updated`
// +kubebuilder:printcolumn:name="Verified",type=integer,JSONPath=`.status.stages[-1:].verified`
// +kubebuilder:printcolumn:name="Failed",type=integer,JSONPath=`.status.stages[-1:].failed`
// +kubebuilder:printcolumn:name="State",type=string,JSONPath=`.spec.state`,priority=1
// +kubebuilder:printcolumn:name="From",type=string,JSONPath=`.status.fromRevision`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type ProxyRollout struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is what a person or a pipeline says.
	// +kubebuilder:default={}
	// +optional
	Spec ProxyRolloutSpec `json:"spec,omitzero"`

	// status is where the rollout is.
	// +optional
	Status ProxyRolloutStatus `json:"status,omitzero"`
}

// ProxyRolloutList is a list of ProxyRollouts.
//
// +kubebuilder:object:root=true
type ProxyRolloutList struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard list metadata.
	// +optional
	metav1.ListMeta `json:"metadata,omitzero"`

	// items are the ProxyRollouts.
	Items []ProxyRollout `json:"items"`
}

// RolloutState is what a person says of a rollout.
//
// +kubebuilder:validation:Enum=Run;Pause;Abort;Retry;Promote
type RolloutState string

const (
	// StateRun lets the rollout proceed.
	StateRun RolloutState = "Run"

	// StatePause keeps more nodes from getting the revision.
	StatePause RolloutState = "Pause"

	// StateAbort gives the nodes the revision before.
	StateAbort RolloutState = "Abort"

	// StateRetry tries a failed or aborted rollout once more.
	StateRetry RolloutState = "Retry"

	// StatePromote soaks no longer, and waits for no approval.
	StatePromote RolloutState = "Promote"
)

// ProxyRolloutSpec is what a person or a pipeline says of a rollout.
type ProxyRolloutSpec struct {
	// state is Run, Pause (no more nodes get the revision), Abort (all return to the revision
	// before), Retry (tries a rollout again that has failed or was aborted, once for each time
	// that the spec is changed to it) or Promote (soaks no longer, and waits for no approval).
	// A rollout that has succeeded stays so.
	// +kubebuilder:default=Run
	// +optional
	State RolloutState `json:"state,omitempty"`

	// approvedStages are the names of stages that are approved, see
	// ProxyConfig.spec.rollout.stages.
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=63
	// +listType=set
	// +optional
	ApprovedStages []string `json:"approvedStages,omitempty"`
}

// RolloutPhase is where a rollout is.
//
// +kubebuilder:validation:Enum=Pending;Blocked;Updating;Verifying;Soaking;AwaitingApproval;Paused;RollingBack;RolledBack;Succeeded;Superseded
type RolloutPhase string

const (
	// RolloutPending means that no node is touched before the controller has checked what is
	// needed.
	RolloutPending RolloutPhase = "Pending"

	// RolloutBlocked means that nodes cannot run the revision, or that what is to be returned to
	// is missing. No node has been touched.
	RolloutBlocked RolloutPhase = "Blocked"

	// RolloutUpdating means that nodes of the stage get the revision.
	RolloutUpdating RolloutPhase = "Updating"

	// RolloutVerifying means that all nodes of the stage have got the revision, and some have
	// not verified it.
	RolloutVerifying RolloutPhase = "Verifying"

	// RolloutSoaking means that the nodes of the stage are watched.
	RolloutSoaking RolloutPhase = "Soaking"

	// RolloutAwaitingApproval means that a person has to approve the stage.
	RolloutAwaitingApproval RolloutPhase = "AwaitingApproval"

	// RolloutPaused means that no more nodes get the revision, because a person says so, or
	// because it has failed and is not undone.
	RolloutPaused RolloutPhase = "Paused"

	// RolloutRollingBack means that nodes return to the revision before.
	RolloutRollingBack RolloutPhase = "RollingBack"

	// RolloutRolledBack means that all nodes are to have the revision before.
	RolloutRolledBack RolloutPhase = "RolledBack"

	// RolloutSucceeded means that all nodes have the revision.
	RolloutSucceeded RolloutPhase = "Succeeded"

	// RolloutSuperseded means that the ProxyConfig asked for another revision in the middle.
	RolloutSuperseded RolloutPhase = "Superseded"
)

// RolloutVerdict is how a rollout has ended.
//
// +kubebuilder:validation:Enum=Failed;Aborted;Succeeded
type RolloutVerdict string

const (
	// VerdictFailed means that too many nodes have failed the revision, or that the rollout has
	// stood still for too long.
	VerdictFailed RolloutVerdict = "Failed"

	// VerdictAborted means that a person has aborted the rollout.
	VerdictAborted RolloutVerdict = "Aborted"

	// VerdictSucceeded means that all nodes have the revision.
	VerdictSucceeded RolloutVerdict = "Succeeded"
)

// ProxyRolloutStatus is where a rollout is. All counts are of the nodes' reports.
type ProxyRolloutStatus struct {
	// conditions are Prechecked, Progressing, Soaked, Succeeded, RolledBack and Superseded.
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// observedGeneration is the generation of the spec that this status describes.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// config is the name of the ProxyConfig.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	Config string `json:"config,omitempty"`

	// phase is where the rollout is.
	// +optional
	Phase RolloutPhase `json:"phase,omitempty"`

	// stage is the current stage; empty: the rollout has ended, or not begun.
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Stage string `json:"stage,omitempty"`

	// verdict is how the rollout has ended; empty: it has not. It is written before any node
	// returns to the revision before.
	// +optional
	Verdict RolloutVerdict `json:"verdict,omitempty"`

	// fromRevision is the revision that nodes return to if the rollout fails; empty: there is none.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	FromRevision string `json:"fromRevision,omitempty"`

	// toRevision is the revision that is rolled out.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	ToRevision string `json:"toRevision,omitempty"`

	// strategy is ProxyConfig.spec.rollout as it was when the rollout began.
	// +kubebuilder:pruning:PreserveUnknownFields
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:validation:Type=object
	// +optional
	Strategy *RolloutOptions `json:"strategy,omitempty"`

	// startTime is when the rollout began, or was last tried again.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`

	// stages are the strategy's stages, and the last one, rest.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=9
	// +optional
	Stages []RolloutStageStatus `json:"stages,omitempty"`

	// failedNodes are the first ten nodes (by name) that have failed the revision. They stay
	// listed after the rollout is undone.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=10
	// +optional
	FailedNodes []FailingNode `json:"failedNodes,omitempty"`

	// skippedNodes are the first ten nodes (by name) that are not ready. They get the revision
	// when all others have it.
	// +kubebuilder:validation:MaxItems=10
	// +kubebuilder:validation:items:MaxLength=253
	// +listType=set
	// +optional
	SkippedNodes []string `json:"skippedNodes,omitempty"`

	// laggingNodes are the first ten nodes (by name) that are to return to the revision before,
	// and have not in time.
	// +kubebuilder:validation:MaxItems=10
	// +kubebuilder:validation:items:MaxLength=253
	// +listType=set
	// +optional
	LaggingNodes []string `json:"laggingNodes,omitempty"`
}

// RolloutStageStatus counts the nodes of a stage.
type RolloutStageStatus struct {
	// name is the name of the stage.
	// +kubebuilder:validation:MaxLength=63
	// +required
	Name string `json:"name"`

	// total is how many nodes are to have the revision after the stage.
	Total int32 `json:"total"`

	// updated is how many of the nodes that it selects are to have the revision now.
	Updated int32 `json:"updated"`

	// verified is the number of those that run it.
	Verified int32 `json:"verified"`

	// failed is the number of those that have failed it.
	Failed int32 `json:"failed"`

	// startTime is when the stage began.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`
}
