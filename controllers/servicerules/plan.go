// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package servicerules

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// plan is the writes and deletes that lead to the desired slices of a Service.
type plan struct {
	// writes are applied in this order, then deletes are deleted.
	writes  []compile.Slice
	deletes []*v1alpha1.ServiceRuleSlice

	// foreign are those of the written and deleted slices that are in the API and not
	// from the controller, by name.
	foreign map[string]foreignSlice

	// triggers are the trigger times of the changes that slices are written for, by name.
	triggers map[string]time.Time

	// removal is that of the change that slices are deleted for; zero: unknown.
	removal time.Time

	// urgent is false only if the writes only add endpoints.
	urgent bool
}

func (p plan) empty() bool { return len(p.writes)+len(p.deletes) == 0 }

// foreignSlice is a slice in the API that the controller has not written, or that was
// changed since.
type foreignSlice struct {
	slice  *v1alpha1.ServiceRuleSlice
	reason error
}

// makePlan compares the slices in the API with the desired ones. All that are not desired
// are deleted, also those of others. svc is nil if the Service is gone.
func makePlan(svc *corev1.Service, current []*v1alpha1.ServiceRuleSlice, wanted []compile.Slice) plan {
	byName := make(map[string]*v1alpha1.ServiceRuleSlice, len(current))
	held := make(map[string]int32, len(current))
	for _, c := range current {
		byName[c.Name], held[c.Name] = c, c.Spec.Parts
	}
	p := plan{foreign: map[string]foreignSlice{}}
	for _, w := range wanted {
		if c := byName[w.Name]; c == nil || !upToDate(svc, c, w) {
			p.writes = append(p.writes, w)
			p.noteForeign(c)
		}
	}
	for _, c := range current {
		isWanted := slices.ContainsFunc(wanted, func(w compile.Slice) bool { return w.Name == c.Name })
		if !isWanted {
			p.deletes = append(p.deletes, c)
			p.noteForeign(c)
		}
	}
	if p.empty() {
		return p
	}
	compile.WriteOrder(p.writes, held)
	p.urgent = !onlyAdds(current, wanted)
	return p
}

// noteForeign notes a slice that is written or deleted; nil: it is not in the API.
func (p *plan) noteForeign(c *v1alpha1.ServiceRuleSlice) {
	if c == nil {
		return
	}
	if reason := model.CheckOrigin(c); reason != nil {
		p.foreign[c.Name] = foreignSlice{c, reason}
	}
}

// annotate adds the trigger time of the change to a plan; without a new one the slices
// keep theirs.
func (p *plan) annotate(fresh time.Time, current []*v1alpha1.ServiceRuleSlice) {
	p.triggers = map[string]time.Time{}
	if fresh.IsZero() {
		for _, c := range current {
			p.triggers[c.Name] = model.Trigger(c)
		}
		return
	}
	for _, w := range p.writes {
		p.triggers[w.Name] = fresh
	}
	p.removal = fresh
}

func upToDate(svc *corev1.Service, current *v1alpha1.ServiceRuleSlice, wanted compile.Slice) bool {
	return model.CheckOrigin(current) == nil && !model.IsObsolete(current) &&
		current.Annotations[v1alpha1.AnnotationServiceUID] == string(svc.UID) &&
		apiequality.Semantic.DeepEqual(current.Spec, wanted.Spec)
}

// onlyAdds reports whether nothing is removed or changed: each family has the same
// frontends as before, and each endpoint still serves the same.
func onlyAdds(current []*v1alpha1.ServiceRuleSlice, wanted []compile.Slice) bool {
	headers := map[corev1.IPFamily]v1alpha1.ServiceRuleSliceSpec{}
	use := sets.Set[string]{}
	for _, w := range wanted {
		headers[w.Spec.AddressFamily] = header(w.Spec)
		for _, e := range w.Spec.Endpoints {
			use.Insert(usage(e))
		}
	}
	for _, c := range current {
		wantedHeader, ok := headers[c.Spec.AddressFamily]
		if !ok || !apiequality.Semantic.DeepEqual(header(c.Spec), wantedHeader) {
			return false
		}
		for _, e := range c.Spec.Endpoints {
			if !use.Has(usage(e)) {
				return false
			}
		}
	}
	// A family without slices yet must not wait.
	for family := range headers {
		if !slices.ContainsFunc(current, func(c *v1alpha1.ServiceRuleSlice) bool { return c.Spec.AddressFamily == family }) {
			return false
		}
	}
	return true
}

func header(spec v1alpha1.ServiceRuleSliceSpec) v1alpha1.ServiceRuleSliceSpec {
	spec.Part, spec.Parts, spec.Endpoints, spec.Digest = 0, 0, nil, ""
	return spec
}

func usage(e v1alpha1.RuleEndpoint) string {
	return fmt.Sprint(e.Address, " ", e.State, " ", e.TargetPorts)
}

// partsOf returns the number of parts of each family in the API.
func partsOf(current []*v1alpha1.ServiceRuleSlice) map[corev1.IPFamily]int32 {
	parts := map[corev1.IPFamily]int32{}
	for _, c := range current {
		parts[c.Spec.AddressFamily] = max(parts[c.Spec.AddressFamily], c.Spec.Parts)
	}
	return parts
}

func hasEndpoints(specs ...v1alpha1.ServiceRuleSliceSpec) bool {
	return slices.ContainsFunc(specs, func(s v1alpha1.ServiceRuleSliceSpec) bool { return len(s.Endpoints) > 0 })
}
