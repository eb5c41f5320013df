// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// receivedSlice is a ServiceRuleSlice after the check of its origin. A list of all slices
// is in memory in this form, without their metadata.
type receivedSlice struct {
	metav1.ObjectMeta // the name only

	spec    *v1alpha1.ServiceRuleSliceSpec
	began   time.Time // when the change began that it shows; zero: unknown
	refused error     // why it is not taken

	obsolete bool // the controller deletes it
}

// receive makes a receivedSlice of a ServiceRuleSlice.
func receive(obj any) (any, error) {
	slice, ok := obj.(*v1alpha1.ServiceRuleSlice)
	if !ok {
		return obj, nil
	}
	refused := model.CheckOrigin(slice)
	return &receivedSlice{ObjectMeta: metav1.ObjectMeta{Name: slice.Name}, spec: &slice.Spec,
		began: model.Trigger(slice), refused: refused, obsolete: refused == nil && model.IsObsolete(slice)}, nil
}

// received returns what comes from the reflector: a slice that receive has transformed, or
// has not.
func received(obj any) (*receivedSlice, error) {
	obj, _ = receive(obj)
	r, ok := obj.(*receivedSlice)
	if !ok {
		return nil, fmt.Errorf("unexpected %T among the ServiceRuleSlices", obj)
	}
	return r, nil
}

// maxRefused bounds how many refused slices are reported by name.
const maxRefused = 10

// refusals are the slices in the API that are not taken, and why. What was taken under
// their names before stays.
type refusals struct {
	reasons map[string]error
	changed bool
	err     error // about all of them, unless changed
}

// note sets why a slice is not taken; nil: it is, or it is gone. It says whether that
// changes anything.
func (r *refusals) note(name string, reason error) bool {
	before := r.reasons[name]
	if reason != nil {
		reason = fmt.Errorf("%s: %w", name, reason)
	}
	switch {
	case reason == nil && before == nil || reason != nil && before != nil && reason.Error() == before.Error():
		return false
	case reason == nil:
		delete(r.reasons, name)
	default:
		r.reasons[name] = reason
	}
	r.changed = true
	return true
}

// error returns an error about all of them; nil: there are none.
func (r *refusals) error() error {
	if !r.changed {
		return r.err
	}
	r.changed, r.err = false, JoinFirst(maxRefused, r.reasons, itself)
	return r.err
}
