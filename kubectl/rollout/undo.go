// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// Find returns a revision by its name or its hash. Without a name it is the one that was asked
// for before the current one.
func (h *History) Find(name string) (*Revision, error) {
	var before *Revision
	for i := range h.Revisions {
		r := &h.Revisions[i]
		if name != "" && (r.Name == name || r.Hash == name) {
			return r, nil
		}
		if r.Number > 0 && !r.Target { // the target has the highest number
			before = r
		}
	}
	switch {
	case name != "":
		return nil, fmt.Errorf("ProxyConfig %s has no revision %s; see kubectl fairlead rollout history %s", h.Config, name, h.Config)
	case before == nil:
		return nil, fmt.Errorf("ProxyConfig %s has had no other policy that is kept", h.Config)
	}
	return before, nil
}

// Usable returns why a ProxyConfig cannot be given the policy of a revision.
func (r *Revision) Usable() error {
	switch {
	case r.policy == nil:
		return fmt.Errorf("revision %s: %s", r.Name, r.Problem)
	case r.Target:
		return fmt.Errorf("revision %s is the current one: there is nothing to undo", r.Name)
	}
	return nil
}

// Undo gives a ProxyConfig the policy of a revision, unless it has changed since it was read. What
// is no part of the policy stays: which nodes it selects, how it is rolled out, the limits of agents.
// The content of the revision was checked against its name when the History was made.
func Undo(ctx context.Context, api client.Writer, config *v1alpha1.ProxyConfig, to *Revision, options ...client.PatchOption) error {
	if err := to.Usable(); err != nil {
		return err
	}
	changed := config.DeepCopy()
	changed.Spec = to.policy.Spec
	patch := client.MergeFromWithOptions(config, client.MergeFromWithOptimisticLock{})
	if err := api.Patch(ctx, changed, patch, options...); err != nil {
		return fmt.Errorf("write the ProxyConfig: %w", err)
	}
	return nil
}
