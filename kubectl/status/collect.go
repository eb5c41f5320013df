// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package status

import (
	"context"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// Input are the objects that a Report follows from.
type Input struct {
	Configs    []v1alpha1.ProxyConfig
	Rollouts   []v1alpha1.ProxyRollout
	Nodes      []v1alpha1.NodeRuleSet
	Heartbeats []v1alpha1.NodeHeartbeat
	Now        time.Time
}

// Kinds are the kinds of objects that Collect reads.
func Kinds() []client.Object {
	return []client.Object{&v1alpha1.ProxyConfig{}, &v1alpha1.ProxyRollout{}, &v1alpha1.NodeRuleSet{}, &v1alpha1.NodeHeartbeat{}}
}

// Collect reads the objects of a Report.
func Collect(ctx context.Context, api client.Reader, now time.Time) (Input, error) {
	in := Input{Now: now}
	var configs v1alpha1.ProxyConfigList
	var rollouts v1alpha1.ProxyRolloutList
	var nodes v1alpha1.NodeRuleSetList
	var beats v1alpha1.NodeHeartbeatList
	for _, list := range []client.ObjectList{&configs, &rollouts, &nodes, &beats} {
		if err := api.List(ctx, list); err != nil {
			return in, fmt.Errorf("list %T: %w", list, err)
		}
	}
	in.Configs, in.Rollouts, in.Nodes, in.Heartbeats = configs.Items, rollouts.Items, nodes.Items, beats.Items
	return in, nil
}
