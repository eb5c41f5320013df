// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// Cluster is what the API holds at a moment of a case.
type Cluster struct {
	Node           *corev1.Node
	Config         *v1alpha1.ProxyConfig
	ServiceCIDRs   []string
	Services       map[string]*corev1.Service
	EndpointSlices map[string]*discoveryv1.EndpointSlice
}

// NewCluster returns the cluster that every case starts from: a node, the
// ordinary policy, and no Service.
func NewCluster() *Cluster {
	c := &Cluster{
		Node:           &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: thisNode}},
		Config:         &v1alpha1.ProxyConfig{ObjectMeta: metav1.ObjectMeta{Name: "default", Generation: 1}},
		Services:       map[string]*corev1.Service{},
		EndpointSlices: map[string]*discoveryv1.EndpointSlice{},
	}
	c.Node.Status.Addresses = []corev1.NodeAddress{
		{Type: corev1.NodeInternalIP, Address: NodeAddress.String()},
		{Type: corev1.NodeInternalIP, Address: Twin(NodeAddress).String()},
	}
	c.Config.Spec = v1alpha1.ProxyConfigSpec{
		Mode: v1alpha1.ModeAuto, // the runner's
		LocalTraffic: v1alpha1.LocalTrafficOptions{
			Detect:       v1alpha1.DetectClusterCIDR,
			ClusterCIDRs: []string{PodNetwork.String(), TwinPrefix(PodNetwork).String()},
		},
		NodePort:    v1alpha1.NodePortOptions{Addresses: []string{v1alpha1.NodePortPrimary}},
		ExternalIPs: v1alpha1.ExternalIPOptions{Policy: v1alpha1.ExternalIPAllow}, // as kube-proxy until 1.39
		SessionAffinity: v1alpha1.SessionAffinityOptions{
			Policy: v1alpha1.AffinityFromService, TimeoutSeconds: 10800,
		},
	}
	return c
}

// Apply makes the changes of a step.
func (c *Cluster) Apply(s Step) error {
	if s.Node != nil {
		c.Node.Spec.PodCIDRs, c.Node.Spec.Taints = s.Node.PodCIDRs, s.Node.Taints
		c.Node.Labels = map[string]string{corev1.LabelTopologyZone: s.Node.Zone}
	}
	if s.Config != nil {
		if err := json.Unmarshal(s.Config, &c.Config.Spec); err != nil {
			return fmt.Errorf("config: %w", err)
		}
	}
	if s.ServiceCIDRs != nil {
		c.ServiceCIDRs = s.ServiceCIDRs
	}
	for _, name := range s.Delete {
		if c.Services[name] == nil && c.EndpointSlices[name] == nil {
			return fmt.Errorf("delete: there is no Service or EndpointSlice %q", name)
		}
		c.remove(name)
	}
	for _, svc := range s.Services {
		made, err := svc.slices()
		if err != nil {
			return err
		}
		c.remove(svc.Name)
		c.Services[svc.Name] = svc.object()
		for _, slice := range made {
			c.EndpointSlices[slice.Name] = slice
		}
	}
	for i := range s.EndpointSlices {
		slice := s.EndpointSlices[i].DeepCopy()
		slice.Namespace = namespace
		c.EndpointSlices[slice.Name] = slice
	}
	return nil
}

// remove removes a Service with the slices of its short form, or an EndpointSlice.
func (c *Cluster) remove(name string) {
	delete(c.EndpointSlices, name)
	if c.Services[name] == nil {
		return
	}
	delete(c.Services, name)
	for _, family := range []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol} {
		delete(c.EndpointSlices, name+"-"+strings.ToLower(string(family)))
	}
}

// Compiled is what the controller writes for a cluster.
type Compiled struct {
	Node   resolve.Node
	Slices map[string]v1alpha1.ServiceRuleSliceSpec
}

// Compile does the work of the controller.
func (c *Cluster) Compile() Compiled {
	cidrs := networkingv1.ServiceCIDR{Spec: networkingv1.ServiceCIDRSpec{CIDRs: c.ServiceCIDRs}}
	spec, _ := compile.Node(compile.NodeInput{Node: c.Node, Config: c.Config, ServiceCIDRs: []networkingv1.ServiceCIDR{cidrs}})
	out := Compiled{
		Node:   resolve.Node{Name: c.Node.Name, Spec: spec},
		Slices: map[string]v1alpha1.ServiceRuleSliceSpec{},
	}
	endpointSlices := slices.Collect(maps.Values(c.EndpointSlices))
	for _, svc := range c.Services {
		for _, slice := range compile.Service(compile.Input{Service: svc, EndpointSlices: endpointSlices}).Slices {
			out.Slices[slice.Name] = slice.Spec
		}
	}
	return out
}

// Desired resolves the rules of the node, like the agent.
func (c Compiled) Desired() (model.Desired, error) {
	settings, err := resolve.Settings(c.Node.Spec)
	if err != nil {
		return model.Desired{}, err
	}
	table := resolve.NewTable()
	table.SetNode(settings)
	parts := map[model.ServiceID][]*v1alpha1.ServiceRuleSliceSpec{}
	for _, spec := range c.Slices {
		id := model.ServiceOf(&spec)
		parts[id] = append(parts[id], &spec)
	}
	for id, specs := range parts {
		resolved, err := resolve.Service(c.Node, id, specs)
		if err != nil {
			return model.Desired{}, err
		}
		table.Set(id, resolved)
	}
	return table.Desired(), nil
}
