// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package resolve_test

import (
	"strings"
	"testing"

	. "github.com/fairlead-proxy/fairlead/rules/internal/rulestest"
)

// zoned makes ready endpoints 1, 2, ..., one for each argument, which lists its hints
// separated by commas. The odd ones are on this node.
func zoned(hints ...string) *SliceBuilder {
	s := WebSlice()
	for i, h := range hints {
		s.Ready(Ep(i+1), []string{Here, There}[i%2])
		if h != "" {
			s.ForZones(strings.Split(h, ",")...)
		}
	}
	return s
}

// byNode makes ready endpoints 1..4 on node-1, node-2, node-1, node-3, with a
// hint for that node and for a zone: 1 and 4 for a, 2 for b, 3 for c.
func byNode() *SliceBuilder {
	s := WebSlice()
	zones := []string{"a", "b", "c", "a"}
	for i, node := range []string{"node-1", "node-2", "node-1", "node-3"} {
		s.Ready(Ep(i+1), node).ForNodes(node).ForZones(zones[i])
	}
	return s
}

// TestCategorize covers which traffic an endpoint is used for: cluster-wide traffic (to
// the ClusterIP, or from outside under the policy Cluster), or local traffic.
func TestCategorize(t *testing.T) {
	in := func(zone string) *NodeBuilder { return ThisNode().Zone(zone) }
	external := func() *ServiceBuilder { return Web().NodePort(3001).ExternalLocal() }
	abca := WebSlice().Ready(Ep(1), Here).ForZones("a").Ready(Ep(2), Here).ForZones("b").
		Ready(Ep(3), There).ForZones("c").Ready(Ep(4), There).ForZones("a")
	lr := WebSlice().Ready(Ep(1), Here).Ready(Ep(2), There)
	for name, c := range map[string]struct {
		node    *NodeBuilder
		service *ServiceBuilder
		slice   *SliceBuilder
		vip     string // endpoints of the ClusterIP, or the verdict
		np      string // endpoints of the node port from outside
	}{
		"T1 zone a":                            {in("a"), Web(), zoned("a", "b", "c", "a"), "1 4", "pass"},
		"T2 external Local, hints":             {in("a"), external(), abca, "1 4", "1 2"},
		"T3 internal Local, hints":             {in("a"), Web().NodePort(3001).InternalLocal(), abca, "1 2", "1 4"},
		"T4 node without zone":                 {in(""), Web(), zoned("a", "b", "c", "a"), "1 2 3 4", "pass"},
		"T5 zone empty, hint empty":            {in(""), Web(), zoned("a", "b").ForZones(""), "1 2", "pass"},
		"T6 zone that no hint names":           {in("b"), Web(), zoned("a", "a", "a"), "1 2 3", "pass"},
		"T7 unready in my zone":                {in("a"), Web(), zoned("a", "b", "c").Unready(Ep(4), Here).ForZones("a"), "1", "pass"},
		"T7 unready without hint":              {in("a"), Web(), zoned("a", "b", "c").Unready(Ep(4), Here), "1", "pass"},
		"T7 terminating without hint":          {in("a"), Web(), zoned("a", "b", "c").Terminating(Ep(4), Here), "1", "pass"},
		"T8 only unready in my zone":           {in("a"), Web(), zoned("b", "b", "c").Unready(Ep(4), Here).ForZones("a"), "1 2 3", "pass"},
		"T9 a ready one without hint":          {in("a"), Web(), zoned("a", "b", "", "a"), "1 2 3 4", "pass"},
		"T10 several hints":                    {in("c"), Web(), zoned("a,b,c", "b,c", "b,d", "c"), "1 2 4", "pass"},
		"T11 node hints":                       {in("a").Named("node-1"), Web(), byNode(), "1 3", "pass"},
		"T12 a ready one without any hint":     {in("a").Named("node-1"), Web(), byNode().Ready(Ep(5), "node-2"), "1 2 3 4 5", "pass"},
		"T12 a ready one without node hint":    {in("a").Named("node-1"), Web(), byNode().Ready(Ep(5), "node-2").ForZones("b"), "1 4", "pass"},
		"T13 no hint for this node":            {in("a").Named("node-0"), Web(), byNode(), "1 4", "pass"},
		"T13 no hint for node or zone":         {in("d").Named("node-0"), Web(), byNode(), "1 2 3 4", "pass"},
		"T14 internal Local, all remote":       {nil, Web().InternalLocal(), WebSlice().Ready(Ep(1), There).Ready(Ep(2), There), "DROP", "pass"},
		"T15 none":                             {nil, external(), WebSlice(), "REJECT", "REJECT"},
		"T16 all unready":                      {nil, external(), WebSlice().Unready(Ep(1), Here).Unready(Ep(2), There), "REJECT", "REJECT"},
		"T17 all terminating":                  {nil, Web(), WebSlice().Terminating(Ep(1), Here).Terminating(Ep(2), There), "1 2", "pass"},
		"T17 terminating ignore hints":         {in("a"), Web(), WebSlice().Terminating(Ep(1), Here).ForZones("a").Terminating(Ep(2), There).ForZones("b"), "1 2", "pass"},
		"T18 internal Local, external Cluster": {nil, Web().NodePort(3001).InternalLocal(), lr, "1", "1 2"},
		"T19 both Local, remote terminating":   {nil, external().InternalLocal(), WebSlice().Terminating(Ep(1), There).Terminating(Ep(2), There), "DROP", "DROP"},
		"T20 external Local, own terminates":   {nil, external(), WebSlice().Ready(Ep(1), There).Unready(Ep(2), Here).Terminating(Ep(3), Here).Terminating(Ep(4), There), "1", "3"},
		"T20 external Local, seen from there":  {ThisNode().Named(There), external(), WebSlice().Ready(Ep(1), There).Terminating(Ep(3), Here).Terminating(Ep(4), There), "1", "1"},
		"T22 neither ready nor serving":        {nil, external(), WebSlice().Endpoint(Ep(1), Here, false, false, false), "REJECT", "REJECT"},
		"T22 terminating but not serving":      {nil, external(), WebSlice().Endpoint(Ep(1), Here, false, false, true), "REJECT", "REJECT"},
		"internal Local, own terminates":       {nil, Web().InternalLocal(), WebSlice().Terminating(Ep(1), Here).Ready(Ep(2), There), "1", "pass"},
	} {
		t.Run(name, func(t *testing.T) {
			want := func(numbers string) string {
				if strings.ContainsAny(numbers, "DRp") {
					return numbers
				}
				var out []string
				for n := range strings.FieldsSeq(numbers) {
					out = append(out, "10.0.0."+n+":80")
				}
				return strings.Join(out, " ")
			}
			np := want(c.np)
			if strings.Contains(np, ":") && c.service.Spec.ExternalTrafficPolicy == "" {
				np += " snat"
			}
			flowCase{node: c.node, inputs: One(Input(c.service, c.slice)), flows: []flow{
				{"pod", "172.30.0.41:80", want(c.vip)}, {"out", "192.168.0.2:3001", np},
			}}.run(t)
		})
	}
}
