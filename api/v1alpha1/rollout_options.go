// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import "k8s.io/apimachinery/pkg/util/intstr"

// RolloutStrategy is how a changed policy reaches the nodes.
//
// +kubebuilder:validation:Enum=AllAtOnce;Staged
type RolloutStrategy string

const (
	// AllAtOnce gives a changed policy to all nodes at once.
	AllAtOnce RolloutStrategy = "AllAtOnce"

	// Staged gives a changed policy to some nodes first, and to more when these work, see
	// ProxyRollout.
	Staged RolloutStrategy = "Staged"
)

// RolloutOnFailure is what happens to a failed rollout.
//
// +kubebuilder:validation:Enum=Rollback;Pause
type RolloutOnFailure string

const (
	// OnFailureRollback gives the nodes the revision before.
	OnFailureRollback RolloutOnFailure = "Rollback"

	// OnFailurePause leaves all nodes as they are.
	OnFailurePause RolloutOnFailure = "Pause"
)

// StageApproval says whether a person has to approve what follows a stage.
//
// +kubebuilder:validation:Enum=None;Required
type StageApproval string

const (
	// ApprovalNone goes on when the stage has soaked.
	ApprovalNone StageApproval = "None"

	// ApprovalRequired waits for the stage's name in ProxyRollout.spec.approvedStages.
	ApprovalRequired StageApproval = "Required"
)

// RolloutOptions configure how a changed policy reaches the nodes.
//
// +kubebuilder:validation:XValidation:rule="!has(self.stages) || size(self.stages) == 0 || self.strategy == 'Staged'",message="`stages` has no effect with `strategy: AllAtOnce`: remove it, or set `strategy: Staged`",fieldPath=.stages
// +kubebuilder:validation:XValidation:rule="!has(self.paused) || !self.paused || self.strategy == 'Staged'",message="`paused` has no effect with `strategy: AllAtOnce`: remove it, or set `strategy: Staged`",fieldPath=.paused
// +kubebuilder:validation:XValidation:rule="!has(self.checks) || size(self.checks) == 0 || self.strategy == 'Staged'",message="`checks` has no effect with `strategy: AllAtOnce`: remove it, or set `strategy: Staged`",fieldPath=.checks
type RolloutOptions struct {
	// strategy is Staged: some nodes get a changed policy first, and more when these work; if
	// too many fail it, all return to the policy before. Or AllAtOnce. Only the policy is
	// rolled out: Services, endpoints and properties of nodes never wait.
	// +kubebuilder:default=Staged
	// +optional
	Strategy RolloutStrategy `json:"strategy,omitempty"`

	// stages are done one after the other; all nodes that they leave are the last stage, rest.
	// Empty: one stage, canary, of one node of each distinct kernel and zone, at most three,
	// which soaks for a minute.
	// +kubebuilder:validation:MaxItems=8
	// +listType=map
	// +listMapKey=name
	// +optional
	Stages []RolloutStage `json:"stages,omitempty"`

	// maxUnavailable is how many nodes may change, or have failed, at once; a percentage is of
	// the nodes of the policy, rounded down, and at least one node. Default: 10%.
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=4
	// +kubebuilder:validation:XValidation:rule="type(self) == string ? self.matches('^(100|[1-9][0-9]?)%$') : self >= 1",message="`maxUnavailable` must be a number of nodes, at least 1, or a percentage such as 10%"
	// +optional
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`

	// failureThreshold is how many nodes that fail end the rollout; a percentage is of the
	// nodes of the policy, rounded up. Default: 1.
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=4
	// +kubebuilder:validation:XValidation:rule="type(self) == string ? self.matches('^(100|[1-9][0-9]?)%$') : self >= 1",message="`failureThreshold` must be a number of nodes, at least 1, or a percentage such as 10%"
	// +optional
	FailureThreshold *intstr.IntOrString `json:"failureThreshold,omitempty"`

	// nodeDeadlineSeconds is how long a node may take to verify a changed policy. Its agent
	// then returns to the one before by itself.
	// +kubebuilder:default=60
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3600
	// +optional
	NodeDeadlineSeconds *int32 `json:"nodeDeadlineSeconds,omitempty"`

	// progressDeadlineSeconds is how long a rollout may stand still before it has failed. What
	// it waits for a person, or soaks, does not count.
	// +kubebuilder:default=600
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=86400
	// +optional
	ProgressDeadlineSeconds *int32 `json:"progressDeadlineSeconds,omitempty"`

	// onFailure is what happens to a rollout that has failed: Rollback gives the nodes the
	// revision before, Pause leaves all nodes as they are.
	// +kubebuilder:default=Rollback
	// +optional
	OnFailure RolloutOnFailure `json:"onFailure,omitempty"`

	// paused keeps more nodes from getting a changed policy. It takes effect at once, also in
	// the middle of a rollout; the other fields are those of the rollout's start.
	// +optional
	Paused *bool `json:"paused,omitempty"`

	// checks are connections that each node makes to Services, through its own rules, before it
	// has verified a changed policy. They take effect at once, also in the middle of a rollout;
	// a node that returns to a policy makes none.
	// +kubebuilder:validation:MaxItems=8
	// +listType=map
	// +listMapKey=name
	// +optional
	Checks []RolloutCheck `json:"checks,omitempty"`
}

// RolloutCheck is a TCP connection that a node makes to the cluster IPs of a Service. The check
// has passed when all of them have answered once; until then it is tried again.
type RolloutCheck struct {
	// name identifies the check.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +required
	Name string `json:"name,omitempty"`

	// service is the Service, as namespace/name. It needs a cluster IP, and an endpoint that all
	// nodes may use.
	// +kubebuilder:validation:MaxLength=127
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?/[a-z]([-a-z0-9]*[a-z0-9])?$')",message="`service` must be a namespace and a name, such as kube-system/kube-dns"
	// +required
	Service string `json:"service,omitempty"`

	// port is a TCP port of the Service.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	// +required
	Port int32 `json:"port,omitempty"`

	// failureLimit is how often the check may fail. One failure more, and the node has failed
	// the policy, without waiting for nodeDeadlineSeconds. Absent: any number until then.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	// +optional
	FailureLimit *int32 `json:"failureLimit,omitempty"`
}

// RolloutStage is a step of a rollout.
type RolloutStage struct {
	// name identifies the stage.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self != 'rest'",message="the last stage is called rest: choose another `name`"
	// +required
	Name string `json:"name,omitempty"`

	// nodeSelector selects the nodes of the stage; empty: all.
	// +optional
	NodeSelector *NodeSelector `json:"nodeSelector,omitempty"`

	// nodes is how many of the selected nodes have the changed policy after the stage, those of
	// earlier stages included; a percentage is rounded up. Empty: all.
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=4
	// +kubebuilder:validation:XValidation:rule="type(self) == string ? self.matches('^(100|[1-9][0-9]?)%$') : self >= 1",message="`nodes` must be a number of nodes, at least 1, or a percentage such as 10%"
	// +optional
	Nodes *intstr.IntOrString `json:"nodes,omitempty"`

	// maxUnavailable is that of the rollout, for this stage.
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=4
	// +kubebuilder:validation:XValidation:rule="type(self) == string ? self.matches('^(100|[1-9][0-9]?)%$') : self >= 1",message="`maxUnavailable` must be a number of nodes, at least 1, or a percentage such as 10%"
	// +optional
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`

	// soakSeconds is how long the nodes of the stage are watched before the next one begins.
	// +kubebuilder:default=60
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=86400
	// +optional
	SoakSeconds *int32 `json:"soakSeconds,omitempty"`

	// approval is whether the next stage waits for this one's name in
	// ProxyRollout.spec.approvedStages.
	// +kubebuilder:default=None
	// +optional
	Approval StageApproval `json:"approval,omitempty"`
}

// RolloutSummary is the ProxyRollout of the current spec.
type RolloutSummary struct {
	// name is the name of the ProxyRollout.
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// phase is where it is.
	// +optional
	Phase RolloutPhase `json:"phase,omitempty"`

	// stage is its current stage.
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Stage string `json:"stage,omitempty"`
}
