// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/test/sim/apiserver"
)

// Resources of the simulated apiserver.
const (
	services       = "services"
	endpointSlices = "endpointslices"
	ruleSlices     = "serviceruleslices"
	ruleSets       = "noderulesets"
	heartbeats     = "nodeheartbeats"
	proxyConfigs   = "proxyconfigs"
	leases         = "leases"
	revisions      = "controllerrevisions"
	rollouts       = "proxyrollouts"
)

const ours = "proxy.fairlead.dev/v1alpha1"

var kinds = []apiserver.Kind{
	{Resource: services, APIVersion: "v1", Kind: "Service", Namespaced: true},
	{Resource: "nodes", APIVersion: "v1", Kind: "Node"},
	{Resource: "events", APIVersion: "events.k8s.io/v1", Kind: "Event", Namespaced: true},
	{Resource: endpointSlices, APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice", Namespaced: true},
	{Resource: leases, APIVersion: "coordination.k8s.io/v1", Kind: "Lease", Namespaced: true},
	{Resource: "daemonsets", APIVersion: "apps/v1", Kind: "DaemonSet", Namespaced: true},
	{Resource: revisions, APIVersion: "apps/v1", Kind: "ControllerRevision", Namespaced: true},
	{Resource: "servicecidrs", APIVersion: "networking.k8s.io/v1", Kind: "ServiceCIDR"},
	{Resource: ruleSlices, APIVersion: ours, Kind: "ServiceRuleSlice"},
	{Resource: ruleSets, APIVersion: ours, Kind: "NodeRuleSet"},
	{Resource: heartbeats, APIVersion: ours, Kind: "NodeHeartbeat"},
	{Resource: proxyConfigs, APIVersion: ours, Kind: "ProxyConfig"},
	{Resource: rollouts, APIVersion: ours, Kind: "ProxyRollout"},
}

// cluster is the name of all clients that are not of this project.
const cluster = "cluster"

// world is what the cluster wants: the Services and their endpoints. The API shows it at
// once.
type world struct {
	server   *apiserver.Server
	oracle   *oracle
	nodes    []string
	services map[string]*service
	pods     int // so far
}

// service is a Service with one port.
type service struct {
	name  string
	ip    netip.Addr
	port  uint16
	local bool // internalTrafficPolicy
	other bool // another proxy has it

	slices [][]endpoint
}

// endpoint is a Pod of a Service.
type endpoint struct {
	at    netip.AddrPort
	node  string
	state podState
}

type podState int

const (
	ready podState = iota
	unready
	terminating // and serving
)

func (s *service) frontend() netip.AddrPort { return netip.AddrPortFrom(s.ip, s.port) }

func (s *service) namespace() string {
	if s.name == model.APIServerService.Name {
		return model.APIServerService.Namespace
	}
	return "sim"
}

func (s *service) clone() *service {
	out := *s
	out.slices = slices.Clone(s.slices)
	for i := range out.slices {
		out.slices[i] = slices.Clone(out.slices[i])
	}
	return &out
}

func (w *world) clone() *world {
	out := *w
	out.services = map[string]*service{}
	for name, s := range w.services {
		out.services[name] = s.clone()
	}
	return &out
}

// sorted returns the Services but for the apiserver's.
func (w *world) sorted() []*service {
	var out []*service
	for _, name := range slices.Sorted(maps.Keys(w.services)) {
		if name != model.APIServerService.Name {
			out = append(out, w.services[name])
		}
	}
	return out
}

// pod returns a new endpoint. Addresses are never used again; i chooses the node.
func (w *world) pod(i int) endpoint {
	w.pods++
	n := w.pods
	ip := netip.AddrFrom4([4]byte{10, byte(64 + n>>16), byte(n >> 8), byte(n)})
	return endpoint{at: netip.AddrPortFrom(ip, 8080), node: w.nodes[i%len(w.nodes)]}
}

// free returns a cluster IP that no Service has; n chooses.
func (w *world) free(n int) netip.Addr {
	for {
		ip := netip.AddrFrom4([4]byte{10, 96, 0, byte(10 + n%16)})
		used := false
		for _, s := range w.services {
			used = used || s.ip == ip
		}
		if !used {
			return ip
		}
		n++
	}
}

// object returns the Service.
func (s *service) object() *corev1.Service {
	out := &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace(), Name: s.name},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, ClusterIP: s.ip.String(), ClusterIPs: []string{s.ip.String()},
			IPFamilies:            []corev1.IPFamily{corev1.IPv4Protocol},
			Ports:                 []corev1.ServicePort{{Name: s.portName(), Protocol: corev1.ProtocolTCP, Port: int32(s.port)}},
			InternalTrafficPolicy: ptr.To(corev1.ServiceInternalTrafficPolicyCluster),
			SessionAffinity:       corev1.ServiceAffinityNone,
		},
	}
	if s.local {
		out.Spec.InternalTrafficPolicy = ptr.To(corev1.ServiceInternalTrafficPolicyLocal)
	}
	if s.other {
		out.Labels = map[string]string{"service.kubernetes.io/service-proxy-name": "other"}
	}
	return out
}

func (s *service) portName() string {
	if s.name == model.APIServerService.Name {
		return "https"
	}
	return "web"
}

// sliceName is the name of an EndpointSlice.
func (s *service) sliceName(i int) string {
	if s.name == model.APIServerService.Name {
		return s.name
	}
	return fmt.Sprintf("%s-%d", s.name, i)
}

// slice returns an EndpointSlice.
func (s *service) slice(i int) *discoveryv1.EndpointSlice {
	out := &discoveryv1.EndpointSlice{
		TypeMeta: metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"},
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace(), Name: s.sliceName(i),
			Labels: map[string]string{discoveryv1.LabelServiceName: s.name}},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	out.Ports = []discoveryv1.EndpointPort{{Name: ptr.To(s.portName()), Protocol: ptr.To(corev1.ProtocolTCP), Port: ptr.To[int32](8080)}}
	for _, e := range s.slices[i] {
		out.Endpoints = append(out.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{e.at.Addr().String()}, NodeName: ptr.To(e.node),
			Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(e.state == ready), Serving: ptr.To(e.state != unready),
				Terminating: ptr.To(e.state == terminating)},
		})
	}
	return out
}

// nodeObject returns a Node.
func nodeObject(name string, i int) *corev1.Node {
	return &corev1.Node{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.NodeSpec{PodCIDR: fmt.Sprintf("10.244.%d.0/24", i), PodCIDRs: []string{fmt.Sprintf("10.244.%d.0/24", i)}},
		Status: corev1.NodeStatus{
			Addresses:  []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("192.0.2.%d", 10+i)}},
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		},
	}
}

// policy returns the ProxyConfig of all nodes; n chooses. All but the first reach the nodes in stages.
func policy(n int) *v1alpha1.ProxyConfig {
	zero, limit := int32(0), int32(historyLimit)
	rollout := v1alpha1.RolloutOptions{Strategy: v1alpha1.AllAtOnce}
	if n > 0 {
		canary := v1alpha1.RolloutStage{Name: "canary", Nodes: ptr.To(intstr.FromInt32(1)), SoakSeconds: ptr.To[int32](5)}
		rollout = v1alpha1.RolloutOptions{Strategy: v1alpha1.Staged, Stages: []v1alpha1.RolloutStage{canary}}
	}
	return &v1alpha1.ProxyConfig{
		TypeMeta:   metav1.TypeMeta{APIVersion: ours, Kind: "ProxyConfig"},
		ObjectMeta: metav1.ObjectMeta{Name: "default"},
		Spec: v1alpha1.ProxyConfigSpec{Priority: &zero, Mode: mode, DeletionPolicy: v1alpha1.DeletionKeep, RevisionHistoryLimit: &limit,
			Rollout:      rollout,
			NodePort:     v1alpha1.NodePortOptions{SourceRanges: []string{fmt.Sprintf("203.0.%d.0/24", n)}},
			LocalTraffic: v1alpha1.LocalTrafficOptions{Detect: v1alpha1.DetectNodeCIDR}},
	}
}
