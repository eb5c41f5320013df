// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"slices"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// shownStatus is the status that the API showed at some moment.
type shownStatus struct {
	uid    types.UID
	status v1alpha1.NodeRuleSetStatus
}

// ShowStatus takes what the API shows as the node's status. Anyone who edits
// it, or restores etcd from a backup, must not make the node look like what it
// is not.
func (r *Writer) ShowStatus(uid types.UID, status v1alpha1.NodeRuleSetStatus) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shown, r.reported = &shownStatus{uid: uid, status: status}, status.Conditions
	select {
	case r.wakeup <- struct{}{}:
	default:
	}
}

// Conditions returns the conditions that the API showed last.
func (r *Writer) Conditions() []metav1.Condition {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reported
}

// drifted says whether the API shows a status that is not the one written. One write
// answers what was shown; whatever else others put beside our fields makes no further
// ones.
func (r *Writer) drifted() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.written != nil && r.shown != nil && r.shown.uid == r.uid && !sameReport(r.shown.status, *r.written)
}

func (r *Writer) forgetShown() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shown = nil
}

// sameReport says whether two statuses say the same. The order of conditions
// and the moments of their transitions do not count.
func sameReport(a, b v1alpha1.NodeRuleSetStatus) bool {
	a.Conditions, b.Conditions = timeless(a.Conditions), timeless(b.Conditions)
	return apiequality.Semantic.DeepEqual(a, b)
}

func timeless(conditions []metav1.Condition) []metav1.Condition {
	out := slices.Clone(conditions)
	for i := range out {
		out[i].LastTransitionTime = metav1.Time{}
	}
	slices.SortFunc(out, func(a, b metav1.Condition) int { return cmp.Compare(a.Type, b.Type) })
	return out
}
