// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"encoding/json"
	"reflect"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// historyLimit is how many revisions the ProxyConfig keeps that no node uses.
const historyLimit = 1

// collectRevisions deletes the revisions and rollouts of a ProxyConfig that is gone, as the garbage collector does.
func (w *world) collectRevisions() {
	config := w.server.Get(proxyConfigs, "default")
	for _, resource := range []string{revisions, rollouts} {
		for _, o := range w.server.Objects(resource) {
			owner := metav1.GetControllerOfNoCopy(&o.Meta)
			if owner == nil || config == nil || owner.UID != config.Meta.UID {
				w.server.Remove(cluster, resource, strings.TrimPrefix(o.Meta.Namespace+"/"+o.Meta.Name, "/"))
			}
		}
	}
}

// checkRevisions checks that the revision of the policy is kept as the newest one, that all nodes
// have it, and that the limit holds.
func (s calmed) checkRevisions() {
	var config v1alpha1.ProxyConfig
	s.must(s.server.Get(proxyConfigs, "default").Decode(&config))
	target := config.Status.TargetRevision
	if target == "" || config.Status.StableRevision != target {
		s.fail("calm: the ProxyConfig has the revision %q as its target, and %q as the stable one", target, config.Status.StableRevision)
	}
	for _, n := range s.nodes {
		var set v1alpha1.NodeRuleSet
		if o := s.server.Get(ruleSets, n.name); o != nil { // see checkStatus
			s.must(o.Decode(&set))
		}
		if set.Spec.Revision != target || set.Status.AppliedRevision != target {
			s.fail("calm: %s is to have the revision %q and has %q, and the target is %q", n.name, set.Spec.Revision, set.Status.AppliedRevision, target)
		}
	}
	kept, newest := s.server.Objects(revisions), appsv1.ControllerRevision{}
	for _, o := range kept {
		var revision appsv1.ControllerRevision
		s.must(o.Decode(&revision))
		if revision.Revision > newest.Revision {
			newest = revision
		}
	}
	if len(kept) > 1+historyLimit {
		s.fail("calm: %d revisions are kept: %v", len(kept), kept)
	}
	if newest.Name != target {
		s.fail("calm: the newest revision is %q, and the target %q", newest.Name, target)
		return
	}
	var data v1alpha1.ProxyConfig
	s.must(json.Unmarshal(newest.Data.Raw, &data))
	if want := policy(s.policy).Spec.NodePort; !reflect.DeepEqual(data.Spec.NodePort, want) {
		s.fail("calm: the revision %s has %+v, and the ProxyConfig %+v", target, data.Spec.NodePort, want)
	}
}

// retryRollouts tries the rollouts again that faults have ended, and says whether there are any. One
// that has no way back, because the ProxyConfig and its revisions were deleted, is given up for a
// policy that needs none.
func (s calmed) retryRollouts() (found bool) {
	for _, o := range s.server.Objects(rollouts) {
		var r v1alpha1.ProxyRollout
		s.must(o.Decode(&r))
		switch r.Status.Phase {
		case v1alpha1.RolloutSucceeded, v1alpha1.RolloutSuperseded:
			continue
		case v1alpha1.RolloutBlocked:
			s.policy = 0
			s.putPolicy()
		default:
			for _, state := range []v1alpha1.RolloutState{v1alpha1.StateRun, v1alpha1.StateRetry} {
				r.Spec.State = state
				s.server.Put(cluster, rollouts, &r)
			}
		}
		found = true
	}
	return found
}
