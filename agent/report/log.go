// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"github.com/go-logr/logr"
)

// LogStep says what a step changed in the kernel, and what failed in it.
func LogStep(log logr.Logger, s Snapshot) {
	failed := s.Problem(KernelError)
	switch {
	case failed != nil:
		log.Error(failed, "Failed to program the kernel, will retry")
	case s.Step.Repaired > 0:
		log.Info("Rules were modified externally and have been restored", "operations", s.Step.Repaired)
	case s.Step.Operations > 0 && s.Step.Synced:
		log.Info("Synced the kernel", "operations", s.Step.Operations, "duration", s.Step.Duration.String(), "services", s.Programmed.Counts.Services)
	case s.Step.Operations > 0:
		log.V(1).Info("Programmed changes", "operations", s.Step.Operations, "duration", s.Step.Duration.String())
	}
	if err := s.Problem(ModeUnsupported); err != nil {
		log.Error(err, "Cannot run the mode of the policy")
	}
	if err := s.Problem(JournalFailed); err != nil {
		log.Error(err, "Failed to write the journal, will retry")
	}
}
