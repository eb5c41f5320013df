// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// Collect reads the objects of a Report: the Service, its EndpointSlices, all ServiceRuleSlices, the
// NodeRuleSets, and the client's Pod.
func Collect(ctx context.Context, api client.Reader, service types.NamespacedName, port string, from Client) (Input, error) {
	in := Input{Service: &corev1.Service{}, Port: port, Client: from}
	if err := api.Get(ctx, service, in.Service); err != nil {
		return in, fmt.Errorf("read the Service: %w", err)
	}
	var endpoints discoveryv1.EndpointSliceList
	if err := api.List(ctx, &endpoints, client.InNamespace(service.Namespace),
		client.MatchingLabels{discoveryv1.LabelServiceName: service.Name}); err != nil {
		return in, fmt.Errorf("list EndpointSlices: %w", err)
	}
	for i := range endpoints.Items {
		in.EndpointSlices = append(in.EndpointSlices, &endpoints.Items[i])
	}
	var rules v1alpha1.ServiceRuleSliceList
	if err := api.List(ctx, &rules); err != nil {
		return in, fmt.Errorf("list ServiceRuleSlices: %w", err)
	}
	in.Slices = rules.Items
	if err := in.locate(ctx, api); err != nil {
		return in, err
	}
	return in, in.readNodes(ctx, api)
}

// locate finds the address and the node of the client.
func (in *Input) locate(ctx context.Context, api client.Reader) error {
	if in.Client.Kind != ClientPod || in.Client.Name == "" {
		return nil
	}
	namespace, name, _ := strings.Cut(in.Client.Name, "/")
	var pod corev1.Pod
	if err := api.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, &pod); err != nil {
		return fmt.Errorf("read the client: %w", err)
	}
	in.Client.Node, in.Client.Address = pod.Spec.NodeName, pod.Status.PodIP
	if in.Client.Node == "" {
		return fmt.Errorf("Pod %s is on no node yet", in.Client.Name)
	}
	if pod.Spec.HostNetwork { // its connections are those of the node
		in.Client.Kind = ClientNode
	}
	return nil
}

// readNodes reads the NodeRuleSets of the nodes that connections may arrive at.
func (in *Input) readNodes(ctx context.Context, api client.Reader) error {
	if in.Client.Node != "" {
		var node v1alpha1.NodeRuleSet
		err := api.Get(ctx, types.NamespacedName{Name: in.Client.Node}, &node)
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("read the NodeRuleSet: %w", err)
		}
		if err == nil {
			in.Nodes = []v1alpha1.NodeRuleSet{node}
		}
		return nil
	}
	var nodes v1alpha1.NodeRuleSetList
	if err := api.List(ctx, &nodes); err != nil {
		return fmt.Errorf("list NodeRuleSets: %w", err)
	}
	in.Nodes = nodes.Items
	return nil
}
