// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"slices"
	"time"

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

// ShowStatus tells the Writer what the API shows as the node's status. Whoever edits
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

// dueRestore returns 0 if the API shows a status that is not the one written,
// a negative duration if it does not, else after which time to look again:
// the watch may be behind the last write. One write answers what was shown;
// whatever else others put beside our fields makes no further ones.
func (r *Writer) dueRestore(now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.shown == nil || r.shown.uid != r.uid || sameReport(r.shown.status, *r.written) {
		return -1
	}
	return max(r.lastWrite.Add(restoreAfter).Sub(now), 0)
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
