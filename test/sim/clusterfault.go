// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

func (s *simulation) faultCluster(e event) {
	switch e.do {
	case deleteSlices:
		s.impair(0)
		for i, o := range s.server.Objects(ruleSlices) {
			if e.b%3 == 0 || i%2 == e.b%2 {
				s.server.Remove(cluster, ruleSlices, o.Meta.Name)
			}
		}
	case deleteSets:
		s.impair(0)
		for _, o := range s.server.Objects(ruleSets) {
			s.server.Remove(cluster, ruleSets, o.Meta.Name)
		}
	case foreignSlice:
		s.impair(0)
		s.foreign(e)
	case dropCRD:
		if s.crdBack.IsZero() {
			s.impair(e.d)
			s.server.Undefine(ruleSlices)
			s.crdBack = time.Now().Add(e.d)
		}
	case backup:
		s.backup = true
	case restore:
		s.restore()
	case oldSchema:
		s.impairUntilCalm()
		s.oldSchema = true
		for _, n := range s.nodes {
			n.mixed.Store(true)
		}
		s.server.Prune(ruleSlices, newerFields...)
	case dropPolicy:
		s.impairUntilCalm()
		s.server.Remove(cluster, proxyConfigs, "default")
	case deleteLease:
		s.impair(0)
		for _, o := range s.server.Objects(leases) {
			s.server.Remove(cluster, leases, o.Meta.Namespace+"/"+o.Meta.Name)
		}
	case startBlind:
		s.startBlind(e)
	case goRogue:
		s.goRogue(e)
	}
}

// restore restores the last backup, and with it the world of that time.
func (s *simulation) restore() {
	if s.saved == nil {
		return
	}
	s.impair(0)
	s.crdBack = time.Time{}
	world := s.saved.world.clone()
	world.pods = s.world.pods // addresses are never used again
	s.world, s.policy = world, s.saved.policy
	s.oracle.update(s.world)
	s.server.Restore(s.saved.api)
	s.claims.restored(s.server.Objects(ruleSlices))
	s.traffic.leads("the restored backup")
}

// foreign writes a slice by hand that claims a Service's addresses, or changes one.
func (s *simulation) foreign(e event) {
	all := s.server.Objects(ruleSlices)
	if len(all) == 0 {
		return
	}
	var slice v1alpha1.ServiceRuleSlice
	s.must(all[e.a%len(all)].Decode(&slice))
	slice.ResourceVersion, slice.UID = "", ""
	slice.Spec.Endpoints = []v1alpha1.RuleEndpoint{{Address: "203.0.113.66", TargetPorts: []int32{666}, NodeName: s.nodes[0].name}}
	if e.b%2 == 0 { // a new one
		slice.Spec.ServiceNamespace, slice.Spec.ServiceName = "aaa", "taken"
		slice.Name = model.SliceNameOf(&slice.Spec)
		slice.Labels = model.SliceLabels(model.ServiceOf(&slice.Spec))
	}
	slice.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl", Operation: metav1.ManagedFieldsOperationUpdate,
		FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(`{"f:spec":{}}`)}}
	s.server.Put(cluster, ruleSlices, &slice)
}

// startBlind starts an agent without a journal while slices are gone, or are refused, and no
// controller writes them again.
func (s *simulation) startBlind(e event) {
	for _, c := range s.replica {
		if p := c.process(); p != nil {
			s.pause(e.d, p)
		}
	}
	n := s.nodes[e.a%len(s.nodes)]
	n.kill(nil, time.Second)
	n.blind.Store(true)
	n.loseLeft()
	s.must(n.disk.lose())
	first := model.SliceName(model.ServiceID{Namespace: model.APIServerService.Namespace, Name: model.APIServerService.Name, Family: "IPv4"}, 0)
	for _, o := range s.server.Objects(ruleSlices) {
		if what := e.b % 5; what == 0 || what == 1 && o.Meta.Name != first || what == 2 && o.Meta.Name == first {
			s.server.Remove(cluster, ruleSlices, o.Meta.Name)
		}
	}
	if e.b%5 > 2 {
		s.foreign(event{a: e.b / 5, b: 1})
	}
	s.pass(4 * time.Second)
}

// goRogue removes the slices of all Services, or their endpoints, as a controller with a bug
// does. The brake of the agents must hold, if there is enough to lose.
func (s *simulation) goRogue(e event) {
	big := s.world.dominant()
	if big == nil {
		s.setBig()
		s.world.change(event{do: growService, a: e.a})
		return
	}
	s.impair(0)
	for _, n := range s.nodes {
		s.oracle.excuse(n.name, func(service string) bool { return service != big.name })
	}
	for _, o := range s.server.Objects(ruleSlices) {
		var slice v1alpha1.ServiceRuleSlice
		s.must(o.Decode(&slice))
		if model.CheckOrigin(&slice) != nil {
			continue
		}
		slice.ResourceVersion, slice.ManagedFields = "", nil
		if e.b%2 == 0 {
			slice.Spec.Endpoints = nil
			slice.Spec.Digest = model.Digest(slice.Spec)
			s.must(s.server.Apply(v1alpha1.ControllerName, ruleSlices, &slice))
			continue
		}
		metav1.SetMetaDataAnnotation(&slice.ObjectMeta, v1alpha1.AnnotationObsolete, "true")
		s.must(s.server.Apply(v1alpha1.ControllerName, ruleSlices, &slice))
		s.server.Remove(v1alpha1.ControllerName, ruleSlices, slice.Name)
	}
}
