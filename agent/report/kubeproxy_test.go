// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"errors"
	"testing"

	"github.com/fairlead-proxy/fairlead/agent/source"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// TestReplaced checks that each thing that may be wrong with our rules keeps those of kube-proxy.
func TestReplaced(t *testing.T) {
	other := func() *source.NodeRules {
		n := testNodeRules(1)
		n.Spec.Node.Zone = "another"
		return n
	}
	problem := func(kind Kind) func(*Snapshot) {
		return func(s *Snapshot) { *s = s.With(kind, errors.New("no")) }
	}
	for name, c := range map[string]struct {
		change func(*Snapshot)
		want   bool
	}{
		"all is well":                   {func(*Snapshot) {}, true},
		"the revision is verified":      {func(s *Snapshot) { s.Revision = &v1alpha1.RevisionStatus{Phase: v1alpha1.RevisionVerified} }, true},
		"it is not yet":                 {func(s *Snapshot) { s.Revision = &v1alpha1.RevisionStatus{Phase: v1alpha1.RevisionProgrammed} }, false},
		"it has failed":                 {func(s *Snapshot) { s.Revision = &v1alpha1.RevisionStatus{Phase: v1alpha1.RevisionFailed} }, false},
		"the node has returned":         {func(s *Snapshot) { s.Revision = &v1alpha1.RevisionStatus{Phase: v1alpha1.RevisionReverted} }, false},
		"kube-proxy runs":               {func(s *Snapshot) { s.KubeProxy.Running = true }, false},
		"it was not looked for":         {func(s *Snapshot) { s.KubeProxy = nil }, false},
		"it has left nothing":           {func(s *Snapshot) { s.KubeProxy.Leftovers = nil }, false},
		"the apiserver has not said so": {func(s *Snapshot) { s.FromAPI = false }, false},
		"nothing is programmed":         {func(s *Snapshot) { s.Programmed = nil }, false},
		"an agent before has":           {func(s *Snapshot) { s.Programmed.Node = nil }, false},
		"something older is programmed": {func(s *Snapshot) { s.Programmed.Node = other() }, false},
		"kube-proxy is left alone":      {func(s *Snapshot) { s.Node.Spec.KubeProxy, s.Programmed.Node.Spec.KubeProxy = "", "" }, false},
		"it is to have the node":        {func(s *Snapshot) { s.Node.Spec.KubeProxy = v1alpha1.KubeProxyGiveBack; s.Programmed.Node = s.Node }, false},
		"before a clean-up":             {func(s *Snapshot) { s.AwaitsKubeProxy = true }, false},
		"the node is cleaned up":        {leaving, false},
		"the kernel refuses":            {problem(KernelError), false},
		"the mode cannot change":        {problem(ModeChangeFailed), false},
		"no mode fits":                  {problem(ModeUnsupported), false},
		"the policy before is in use":   {problem(RevisionReverted), false},
		"what changes nothing":          {problem(ConntrackFailed), true},
	} {
		t.Run(name, func(t *testing.T) {
			s := good()
			s.Node.Spec.KubeProxy, s.Programmed.Node.Spec.KubeProxy = v1alpha1.KubeProxyTakeOver, v1alpha1.KubeProxyTakeOver
			s.KubeProxy = &v1alpha1.KubeProxyStatus{Mode: v1alpha1.KubeProxyNFTables, Leftovers: []string{"rules"}}
			c.change(&s)
			if got := s.Replaced(); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}
