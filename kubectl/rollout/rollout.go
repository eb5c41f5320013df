// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rollout shows the ProxyRollout of a ProxyConfig, and writes what a person says of it.
package rollout

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// Of returns the rollout of a ProxyConfig's current policy.
func Of(ctx context.Context, api client.Reader, config types.NamespacedName) (*v1alpha1.ProxyRollout, error) {
	var policy v1alpha1.ProxyConfig
	if err := api.Get(ctx, config, &policy); err != nil {
		return nil, fmt.Errorf("read the ProxyConfig: %w", err)
	}
	if policy.Status.ObservedGeneration != policy.Generation {
		return nil, fmt.Errorf("the controller has not seen the latest change of ProxyConfig %s yet: try again", config.Name)
	}
	if policy.Status.Rollout == nil {
		return nil, fmt.Errorf("ProxyConfig %s has no rollout: the first policy of nodes, and one with `rollout.strategy: AllAtOnce`, is programmed at once", config.Name)
	}
	out := &v1alpha1.ProxyRollout{}
	if err := api.Get(ctx, types.NamespacedName{Name: policy.Status.Rollout.Name}, out); err != nil {
		return nil, fmt.Errorf("read the ProxyRollout: %w", err)
	}
	return out, nil
}

// Change is what a person says of a rollout. The error says why it would have no effect.
type Change func(*v1alpha1.ProxyRollout) error

// Say sets the state of a rollout.
func Say(state v1alpha1.RolloutState) Change {
	return func(r *v1alpha1.ProxyRollout) error {
		if err := effect(r, state); err != nil {
			return err
		}
		r.Spec.State = state
		return nil
	}
}

// effect returns an error if a state would change nothing.
func effect(r *v1alpha1.ProxyRollout, state v1alpha1.RolloutState) error {
	switch verdict := r.Status.Verdict; {
	case verdict == v1alpha1.VerdictSucceeded:
		return fmt.Errorf("rollout %s has succeeded: change the ProxyConfig for another one", r.Name)
	case verdict != "" && state != v1alpha1.StateRetry && state != v1alpha1.StateAbort:
		return fmt.Errorf("rollout %s is over (%s): only retry has an effect", r.Name, verdict)
	case verdict == "" && state == v1alpha1.StateRetry:
		return fmt.Errorf("rollout %s is not over: there is nothing to try again", r.Name)
	}
	return nil
}

// Approve approves a stage.
func Approve(stage string) Change {
	return func(r *v1alpha1.ProxyRollout) error {
		var known []string
		for _, s := range r.Status.Stages {
			known = append(known, s.Name)
		}
		if !slices.Contains(known, stage) {
			return fmt.Errorf("rollout %s has no stage %s; it has %s", r.Name, stage, strings.Join(known, ", "))
		}
		if !slices.Contains(r.Spec.ApprovedStages, stage) {
			r.Spec.ApprovedStages = append(r.Spec.ApprovedStages, stage)
		}
		return nil
	}
}

// Apply writes a change, unless the rollout has changed since it was read.
func Apply(ctx context.Context, api client.Writer, r *v1alpha1.ProxyRollout, change Change) error {
	before := r.DeepCopy()
	if err := change(r); err != nil {
		return err
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := api.Patch(ctx, r, patch); err != nil {
		return fmt.Errorf("write the ProxyRollout: %w", err)
	}
	return nil
}
