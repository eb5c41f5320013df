// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import "github.com/go-logr/logr"

// LogStep says what changed in the kernel.
func LogStep(log logr.Logger, o Snapshot) {
	switch {
	case o.Programming != nil:
		log.Error(o.Programming, "Failed to program the kernel, will retry")
	case o.Stats.Repaired > 0:
		log.Info("Repaired rules that somebody else had changed", "operations", o.Stats.Repaired)
	case o.Stats.Operations > 0 && o.Synced:
		log.Info("Synced the kernel", "operations", o.Stats.Operations, "duration", o.Duration.String(), "services", o.Counts.Services)
	case o.Stats.Operations > 0:
		log.V(1).Info("Programmed changes", "operations", o.Stats.Operations, "duration", o.Duration.String())
	}
	if o.Unsupported != nil {
		log.Error(o.Unsupported, "Cannot run the mode of the policy")
	}
	if o.Storing != nil {
		log.Error(o.Storing, "Failed to write the checkpoint, will retry")
	}
}
