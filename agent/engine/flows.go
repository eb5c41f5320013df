// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"k8s.io/utils/cpuset"

	"github.com/fairlead-proxy/fairlead/agent/kernel/conntrack"
	"github.com/fairlead-proxy/fairlead/agent/kernel/sysctl"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Flows keeps the flows that are under way in step with the rules. None of its
// methods waits for the kernel.
type Flows interface {
	// Change notes a delta that is going to be programmed.
	Change(d model.Delta)

	// Programmed says that all changes so far are, and whether everything was
	// compared with the kernel.
	Programmed(everything bool)

	// Failure returns why this has failed for some time; nil: it has not.
	Failure() error
}

// Tuner returns what gives the kernel the parameters of connection tracking.
// What namespace sets can be set back.
func Tuner(tree sysctl.Tree, namespace sysctl.Parameters) func(*v1alpha1.ConntrackOptions) error {
	return func(o *v1alpha1.ConntrackOptions) error {
		// Those of the machine: the limit is the machine's, and the agent may be
		// confined to some.
		cpus, err := cpuset.NumCPU()
		if err != nil {
			return err
		}
		return conntrack.Tune(tree, namespace, o, cpus)
	}
}
