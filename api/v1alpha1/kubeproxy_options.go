// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// KubeProxyOptions configure whether the nodes take over from kube-proxy.
type KubeProxyOptions struct {
	// takeOver says whether the nodes take over from kube-proxy, or give back to it. A node
	// that takes over keeps kube-proxy off once its own rules are programmed, and removes the
	// rules that kube-proxy has left. A node that gives back removes its own rules once
	// kube-proxy runs and is healthy.
	// +required
	TakeOver *bool `json:"takeOver,omitempty"`

	// daemonSet is the DaemonSet of kube-proxy, as namespace/name. It gets one term of node
	// affinity, which keeps it off the nodes that have taken over.
	// +kubebuilder:default="kube-system/kube-proxy"
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$')",message="`daemonSet` must be a namespace and a name, such as kube-system/kube-proxy"
	// +optional
	DaemonSet string `json:"daemonSet,omitempty"`
}

// KubeProxyAction is what a node does about kube-proxy.
//
// +kubebuilder:validation:Enum=TakeOver;GiveBack
type KubeProxyAction string

const (
	// KubeProxyTakeOver means that the node removes kube-proxy's rules once its own are
	// programmed and kube-proxy does not run any more.
	KubeProxyTakeOver KubeProxyAction = "TakeOver"

	// KubeProxyGiveBack means that the node removes its own rules once kube-proxy runs and is
	// healthy.
	KubeProxyGiveBack KubeProxyAction = "GiveBack"
)

// KubeProxyMode is a mode of kube-proxy, as its configuration names it.
// +kubebuilder:validation:Enum=nftables;iptables;ipvs
type KubeProxyMode string

// The modes of kube-proxy.
const (
	KubeProxyNFTables KubeProxyMode = "nftables"
	KubeProxyIPTables KubeProxyMode = "iptables"
	KubeProxyIPVS     KubeProxyMode = "ipvs"
)

// KubeProxyStatus describes kube-proxy on a node.
type KubeProxyStatus struct {
	// running is true if kube-proxy answers on its default ports.
	Running bool `json:"running"`

	// mode is the mode of the running kube-proxy, otherwise that of its rules; empty: unknown.
	// +optional
	Mode KubeProxyMode `json:"mode,omitempty"`

	// leftovers are the rules of kube-proxy in the kernel, also while it runs.
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MaxLength=64
	// +listType=atomic
	// +optional
	Leftovers []string `json:"leftovers,omitempty"`

	// message describes why the agent failed to look for rules, or to remove them.
	// +kubebuilder:validation:MaxLength=256
	// +optional
	Message string `json:"message,omitempty"`
}

// IsGone says whether the agent has found neither kube-proxy nor rules of it. It is false before the
// first look.
func (s *KubeProxyStatus) IsGone() bool {
	return s != nil && !s.Running && len(s.Leftovers) == 0 && s.Message == ""
}

const (
	// LabelKubeProxy is the label of Nodes that kube-proxy's DaemonSet keeps off.
	LabelKubeProxy = "proxy.fairlead.dev/kube-proxy"

	// KubeProxyReplaced is the value of LabelKubeProxy.
	KubeProxyReplaced = "replaced"

	// AnnotationAffinityBefore is set on kube-proxy's DaemonSet while the controller has
	// changed its affinity: the affinity of before in JSON; null: it had none.
	AnnotationAffinityBefore = "proxy.fairlead.dev/affinity-before"
)
