// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// GivesBack says whether kube-proxy is to take the node back, for which its ports must be free.
func (s Snapshot) GivesBack() bool { return s.asks(v1alpha1.KubeProxyGiveBack) }

func (s Snapshot) asks(action v1alpha1.KubeProxyAction) bool {
	return s.Node != nil && !s.leaves() && s.rules().Spec.KubeProxy == action
}

// TakesOver says whether rules of kube-proxy are in the kernel that are to go. While they are there,
// a kube-proxy that starts again must find its port free, by which it is found.
func (s Snapshot) TakesOver() bool {
	return s.asks(v1alpha1.KubeProxyTakeOver) && s.KubeProxy != nil && len(s.KubeProxy.Leftovers) > 0
}

// Replaced says whether these rules can go: no kube-proxy runs, and all that the API asks for is
// programmed and verified.
func (s Snapshot) Replaced() bool {
	c := programmed(s)
	return s.TakesOver() && !s.KubeProxy.Running &&
		c.Status == metav1.ConditionTrue && c.Reason == v1alpha1.ReasonProgrammed &&
		s.Problem(ModeChangeFailed) == nil && s.Problem(ModeUnsupported) == nil &&
		(s.Revision == nil || s.Revision.Phase == v1alpha1.RevisionVerified)
}
