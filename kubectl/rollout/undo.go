// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

// annotationDaemonSet keeps spec.kubeProxy.daemonSet of a ProxyConfig while it has no spec.kubeProxy: the
// name is no part of a revision, and without it a later undo would change another DaemonSet.
const annotationDaemonSet = "proxy.fairlead.dev/kube-proxy-daemonset"

// keepDaemonSet notes the DaemonSet if spec.kubeProxy goes, and takes the noted one if it comes back.
func keepDaemonSet(before, after *v1alpha1.ProxyConfig) {
	was, is := before.Spec.KubeProxy, after.Spec.KubeProxy
	switch {
	case was != nil && was.DaemonSet != "" && is == nil:
		metav1.SetMetaDataAnnotation(&after.ObjectMeta, annotationDaemonSet, was.DaemonSet)
	case was == nil && is != nil:
		is.DaemonSet = after.Annotations[annotationDaemonSet]
		delete(after.Annotations, annotationDaemonSet)
	}
}

// Undo gives a ProxyConfig the policy of a revision, unless it has changed since it was read. What
// is no part of the policy stays: which nodes it selects, how it is rolled out, the limits of agents, the
// name of kube-proxy's DaemonSet.
// The content of the revision was checked against its name when the History was made.
func Undo(ctx context.Context, api client.Writer, config *v1alpha1.ProxyConfig, to *Revision, options ...client.PatchOption) error {
	if err := to.Usable(); err != nil {
		return err
	}
	changed := config.DeepCopy()
	changed.Spec = *to.policy.Spec.DeepCopy()
	keepDaemonSet(config, changed)
	patch := client.MergeFromWithOptions(config, client.MergeFromWithOptimisticLock{})
	if err := api.Patch(ctx, changed, patch, options...); err != nil {
		return fmt.Errorf("write the ProxyConfig: %w", err)
	}
	return nil
}
