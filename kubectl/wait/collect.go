// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package wait

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Wanted compiles the slices of a Service from what the apiserver has now. parts are the numbers of
// parts that exist.
func Wanted(ctx context.Context, api client.Reader, service types.NamespacedName, parts map[corev1.IPFamily]int32) ([]compile.Slice, error) {
	in := compile.Input{Service: &corev1.Service{}, Parts: parts}
	if err := api.Get(ctx, service, in.Service); err != nil {
		return nil, fmt.Errorf("read the Service: %w", err)
	}
	if !model.IsProxied(in.Service) {
		return nil, fmt.Errorf("Service %s has no rules: it has no cluster IP, is an ExternalName, or is for another proxy", service)
	}
	var endpoints discoveryv1.EndpointSliceList
	if err := api.List(ctx, &endpoints, client.InNamespace(service.Namespace),
		client.MatchingLabels{discoveryv1.LabelServiceName: service.Name}); err != nil {
		return nil, fmt.Errorf("list EndpointSlices: %w", err)
	}
	for i := range endpoints.Items {
		in.EndpointSlices = append(in.EndpointSlices, &endpoints.Items[i])
	}
	if len(in.Service.Spec.ExternalIPs) > 0 {
		var err error
		if in.Cluster, err = cluster(ctx, api); err != nil {
			return nil, err
		}
	}
	return compile.Service(in).Slices, nil
}

// cluster reads which addresses no Service can have as an external IP.
func cluster(ctx context.Context, api client.Reader) (*compile.Cluster, error) {
	var nodes corev1.NodeList
	if err := api.List(ctx, &nodes); err != nil {
		return nil, fmt.Errorf("list Nodes: %w", err)
	}
	var sets v1alpha1.NodeRuleSetList
	if err := api.List(ctx, &sets); err != nil {
		return nil, fmt.Errorf("list NodeRuleSets: %w", err)
	}
	apiServers := &discoveryv1.EndpointSlice{}
	err := api.Get(ctx, model.APIServerService, apiServers)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("read EndpointSlice %s: %w", model.APIServerService, err)
	}
	if err != nil {
		apiServers = nil
	}
	return compile.NewCluster(nodes.Items, sets.Items, apiServers), nil
}
