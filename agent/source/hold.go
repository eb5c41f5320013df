// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// holds are the changes of slices that the API shows and that are not obeyed, by the names
// of the slices. The slices in effect are in the sliceStore.
//
// A slice that is gone without the controller's mark, or not listed, is held: kubectl, a
// deleted CRD and an etcd restored from a backup remove slices, and no Service. So is what
// the brake does not allow, also if the controller has written it. A hold ends with a change that is
// obeyed, or with evidence from the apiserver that the Service wants it so: see judge.
type holds struct {
	byName  map[string]*held
	begun   chan struct{} // receives when there is a new one
	changed bool
	summary Held // unless changed
}

// held is a change of a slice.
type held struct {
	spec    *v1alpha1.ServiceRuleSliceSpec // nil: it is gone
	written bool                           // the controller has written or marked it: only the brake holds it
	checks  int                            // how often no evidence was found
	reason  error                          // why not, the last time
}

// Held says what is held.
type Held struct {
	Slices, Endpoints int

	// Err names the Services for which the apiserver has shown no evidence; nil: there is
	// none that was looked for.
	Err error
}

// heldService is a Service with slices of which changes are held. It is a copy: what
// changes afterwards is found by comparison.
type heldService struct {
	name    types.NamespacedName
	changes map[string]*held
	checks  int // the fewest
}

func newHolds() holds {
	return holds{byName: map[string]*held{}, begun: make(chan struct{}, 1)}
}

func (h *holds) add(name string, spec *v1alpha1.ServiceRuleSliceSpec, written bool) {
	h.byName[name], h.changed = &held{spec: spec, written: written}, true
	select {
	case h.begun <- struct{}{}:
	default:
	}
}

// end forgets a hold and says whether there was one.
func (h *holds) end(name string) bool {
	if h.byName[name] == nil {
		return false
	}
	delete(h.byName, name)
	h.changed = true
	return true
}

// accept obeys what the API shows of a slice, or holds it. nil: the slice is gone, and
// marked says that the controller wanted that. The caller holds mu.
func (in *Store) accept(name string, spec *v1alpha1.ServiceRuleSliceSpec, marked bool) {
	written := spec != nil || marked
	switch {
	case in.slices.specs[name] == nil || written && in.brake.allowsChange(&in.slices, name, spec):
		if in.holds.end(name) {
			in.notify()
		}
		in.put(name, spec)
	case in.holds.byName[name] == nil || in.holds.byName[name].spec != nil || spec != nil:
		in.holds.add(name, spec, written)
		in.notify()
	}
}

// releaseAllowed obeys what only the brake has held, as far as its limit allows it now. The
// caller holds mu.
func releaseAllowed(in *Store) {
	for _, name := range slices.Sorted(maps.Keys(in.holds.byName)) {
		if h := in.holds.byName[name]; h.written && in.brake.allowsChange(&in.slices, name, h.spec) {
			in.holds.end(name)
			in.put(name, h.spec)
			in.latency.forget(name)
		}
	}
}

// heldServices returns at most n Services with held changes, those first for which the
// fewest checks were made.
func heldServices(in *Store, n int) []heldService {
	in.mu.Lock()
	defer in.mu.Unlock()
	byService := map[types.NamespacedName]*heldService{}
	for name, h := range in.holds.byName {
		spec := in.slices.specs[name]
		service := model.ServiceNameOf(spec)
		s := byService[service]
		if s == nil {
			s = &heldService{name: service, changes: map[string]*held{}, checks: h.checks}
			byService[service] = s
		}
		s.changes[name], s.checks = h, min(s.checks, h.checks)
	}
	all := slices.SortedFunc(maps.Values(byService), func(a, b *heldService) int {
		return cmp.Or(a.checks-b.checks, cmp.Compare(a.name.String(), b.name.String()))
	})
	out := make([]heldService, min(n, len(all)))
	for i := range out {
		out[i] = *all[i]
	}
	return out
}

// errWanted is the reason for which a change is held on.
var errWanted = errors.New("the apiserver still has the Service and endpoints")

// judge obeys the held changes of a Service if they remove nothing that is wanted. Else they
// are held on, and it returns false. err: it could not be found out what is wanted.
func judge(in *Store, s heldService, wanted model.Wanted, err error) (released bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	byFamily := map[model.ServiceID][]string{}
	for name, h := range s.changes {
		if in.holds.byName[name] == h { // nothing has come since
			id := model.ServiceOf(in.slices.specs[name])
			byFamily[id] = append(byFamily[id], name)
		}
	}
	released = true
	for id, names := range byFamily {
		reason := err
		if reason == nil {
			reason = in.holds.contradiction(&in.slices, id, wanted)
		}
		for _, name := range names {
			h := in.holds.byName[name]
			if reason != nil {
				h.checks, h.reason, in.holds.changed, released = h.checks+1, reason, true, false
				continue
			}
			in.holds.end(name)
			in.put(name, h.spec)
			in.latency.forget(name)
		}
		if reason == nil {
			in.brake.reset(in.slices.usable)
		}
		in.notify()
	}
	return released
}

// contradiction returns why what is held of a Service in one family is not what is wanted; nil:
// it is. The Service must not be left without slices, nor without endpoints that are wanted.
func (h *holds) contradiction(s *sliceStore, id model.ServiceID, wanted model.Wanted) error {
	if !wanted.Families[id.Family] {
		return nil
	}
	var before, after []*v1alpha1.ServiceRuleSliceSpec
	for _, name := range s.parts[id] {
		spec := s.specs[name]
		before = append(before, spec)
		if change := h.byName[name]; change != nil {
			spec = change.spec
		}
		if spec != nil {
			after = append(after, spec)
		}
	}
	if len(after) == 0 {
		return errWanted
	}
	lost := usableOf(before...)
	for _, spec := range after {
		remove(lost, spec)
	}
	for address := range lost {
		if wanted.Endpoints[address] {
			return errWanted
		}
	}
	return nil
}

// Held says what is held.
func (in *Store) Held() Held {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.holds.summarize(&in.slices)
}

// maxHeld bounds how many Services with held changes are reported by name.
const maxHeld = 3

func (h *holds) summarize(s *sliceStore) Held {
	if !h.changed {
		return h.summary
	}
	out := Held{Slices: len(h.byName)}
	reasons := map[string]error{}
	for name, change := range h.byName {
		out.Endpoints += s.loss(name, change.spec)
		if spec := s.specs[name]; change.reason != nil {
			service := model.ServiceNameOf(spec).String()
			reasons[service] = fmt.Errorf("%s: %w", service, change.reason)
		}
	}
	out.Err = JoinFirst(maxHeld, reasons, itself)
	h.changed, h.summary = false, out
	return out
}
