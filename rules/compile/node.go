// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// SelectConfig returns the policy of a node among all ProxyConfigs: of those
// that select it the one with the highest priority, then the oldest, then the
// first by name. losers are the others that select the node. The error names
// configs whose selector is invalid; they select nothing.
func SelectConfig(node *corev1.Node, configs []v1alpha1.ProxyConfig) (winner *v1alpha1.ProxyConfig, losers []*v1alpha1.ProxyConfig, err error) {
	var selecting []*v1alpha1.ProxyConfig
	var errs []error
	for i := range configs {
		selects, err := selectsNode(&configs[i], node)
		if err != nil {
			errs = append(errs, fmt.Errorf("ProxyConfig %s: spec.nodeSelector is invalid: %w", configs[i].Name, err))
		}
		if selects {
			selecting = append(selecting, &configs[i])
		}
	}
	slices.SortFunc(selecting, func(a, b *v1alpha1.ProxyConfig) int {
		return cmp.Or(
			cmp.Compare(priority(b), priority(a)),
			a.CreationTimestamp.Compare(b.CreationTimestamp.Time),
			cmp.Compare(a.Name, b.Name),
		)
	})
	if len(selecting) == 0 {
		return nil, nil, errors.Join(errs...)
	}
	return selecting[0], selecting[1:], errors.Join(errs...)
}

func priority(c *v1alpha1.ProxyConfig) int32 {
	if c.Spec.Priority == nil {
		return 0
	}
	return *c.Spec.Priority
}

func selectsNode(config *v1alpha1.ProxyConfig, node *corev1.Node) (bool, error) {
	selector, err := config.Spec.NodeSelector.Selector()
	if err != nil {
		return false, err
	}
	return selector.Matches(labels.Set(node.Labels)), nil
}

// NodeInput is what Node compiles.
type NodeInput struct {
	Node   *corev1.Node
	Config *v1alpha1.ProxyConfig

	// Revision is the name of the ProxyConfig's policy, AssignedTime since when the node is to
	// have it; nil: not known.
	Revision     string
	AssignedTime *metav1.Time

	// Checks must pass before the revision is verified, if AssignedTime is known.
	Checks []v1alpha1.RolloutCheck

	// ServiceCIDRs are all ServiceCIDRs of the cluster, in any order.
	ServiceCIDRs []networkingv1.ServiceCIDR
}

// Node compiles the NodeRuleSet of a node under a policy.
func Node(in NodeInput) (v1alpha1.NodeRuleSetSpec, []Problem) {
	problems := &problemList{}
	c := in.Config.Spec.DeepCopy()
	spec := v1alpha1.NodeRuleSetSpec{
		Policy:          v1alpha1.PolicyReference{Name: in.Config.Name, Generation: in.Config.Generation},
		Revision:        in.Revision,
		AssignedTime:    in.AssignedTime,
		Mode:            c.Mode,
		FallbackModes:   c.FallbackModes,
		IPVS:            c.IPVS,
		SessionAffinity: c.SessionAffinity,
		NodePort:        c.NodePort,
		ExternalIPs:     c.ExternalIPs,
		Masquerade:      c.Masquerade,
		LocalTraffic:    c.LocalTraffic,
		Conntrack:       c.Conntrack,
		KubeProxy:       kubeProxy(c.KubeProxy),
		MassRemoval:     c.MassRemoval,
		DeletionPolicy:  c.DeletionPolicy,
		Node: v1alpha1.NodeFacts{
			Zone:      in.Node.Labels[corev1.LabelTopologyZone],
			Departing: IsDeparting(in.Node),
			Addresses: nodeIPs(in.Node, problems),
			PodCIDRs:  podCIDRs(in.Node, problems),
		},
		ServiceCIDRs: serviceCIDRs(in.ServiceCIDRs, problems),
	}
	if in.AssignedTime != nil {
		spec.NodeDeadlineSeconds, spec.Checks = c.Rollout.NodeDeadlineSeconds, in.Checks
	}
	return spec, problems.sorted()
}

func kubeProxy(o *v1alpha1.KubeProxyOptions) v1alpha1.KubeProxyAction {
	switch {
	case o == nil || o.TakeOver == nil:
		return ""
	case *o.TakeOver:
		return v1alpha1.KubeProxyTakeOver
	default:
		return v1alpha1.KubeProxyGiveBack
	}
}

// TaintToBeDeleted is the taint that the cluster autoscaler sets on a node before it
// deletes the node.
const TaintToBeDeleted = "ToBeDeletedByClusterAutoscaler"

// IsDeparting says whether a node is about to be removed, so that load balancers should
// send it no more traffic.
func IsDeparting(node *corev1.Node) bool {
	return node.DeletionTimestamp != nil ||
		slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Key == TaintToBeDeleted })
}

// maxNodeAddresses bounds the addresses of a node. Node ports answer on the first of each
// family by default; the others only say which addresses are the node's own.
const maxNodeAddresses = 256

// nodeIPs returns the node's internal addresses and then its external ones,
// each in the order of the Node object.
func nodeIPs(node *corev1.Node, problems *problemList) []string {
	var out []string
	for _, kind := range []corev1.NodeAddressType{corev1.NodeInternalIP, corev1.NodeExternalIP} {
		for _, a := range node.Status.Addresses {
			if a.Type != kind {
				continue
			}
			addr, err := model.ParseAddr(a.Address)
			if err != nil {
				problems.add("Node", "", node.Name, "address skipped: %v", err)
				continue
			}
			if !slices.Contains(out, addr.String()) {
				out = append(out, addr.String())
			}
		}
	}
	if extra := len(out) - maxNodeAddresses; extra > 0 {
		problems.add("Node", "", node.Name, "%d addresses skipped: at most %d count, the internal ones first", extra, maxNodeAddresses)
		out = out[:maxNodeAddresses:maxNodeAddresses]
	}
	return out
}

func podCIDRs(node *corev1.Node, problems *problemList) []string {
	texts := node.Spec.PodCIDRs
	if len(texts) == 0 && node.Spec.PodCIDR != "" {
		texts = []string{node.Spec.PodCIDR}
	}
	var out []string
	for _, text := range texts {
		p, err := model.ParsePrefix(text)
		if err != nil {
			problems.add("Node", "", node.Name, "Pod CIDR skipped: %v", err)
			continue
		}
		out = append(out, p.String())
	}
	return out
}
