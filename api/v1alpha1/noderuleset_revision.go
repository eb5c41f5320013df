// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// RevisionPhase is how far an agent is with a revision.
//
// +kubebuilder:validation:Enum=Pending;Preparing;Programmed;Verified;Failed;Reverted
type RevisionPhase string

const (
	// RevisionPending means that the agent has not begun with the revision.
	RevisionPending RevisionPhase = "Pending"

	// RevisionPreparing means that the agent programs the revision.
	RevisionPreparing RevisionPhase = "Preparing"

	// RevisionProgrammed means that the kernel has the revision, and that it is not verified yet.
	RevisionProgrammed RevisionPhase = "Programmed"

	// RevisionVerified means that the kernel has the revision without an error, and that the
	// apiserver has answered the agent since.
	RevisionVerified RevisionPhase = "Verified"

	// RevisionFailed means that the revision is not verified in time, and that there is none to
	// return to. The agent keeps trying.
	RevisionFailed RevisionPhase = "Failed"

	// RevisionReverted means that the revision was not verified in time, and that the agent has
	// returned to the one before. It is not tried again until spec.revision or
	// spec.assignedTime changes.
	RevisionReverted RevisionPhase = "Reverted"
)

// RevisionStatus is how far an agent is with a revision.
type RevisionStatus struct {
	// name is the spec.revision that this is about.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	Name string `json:"name,omitempty"`

	// assignedTime is the spec.assignedTime that this is about.
	// +optional
	AssignedTime *metav1.Time `json:"assignedTime,omitempty"`

	// phase is how far the agent is.
	// +required
	Phase RevisionPhase `json:"phase,omitempty"`

	// verifiedTime is since when the phase is Verified.
	// +optional
	VerifiedTime *metav1.Time `json:"verifiedTime,omitempty"`

	// lastError is why the phase is Failed or Reverted.
	// +kubebuilder:validation:MaxLength=512
	// +optional
	LastError string `json:"lastError,omitempty"`
}
