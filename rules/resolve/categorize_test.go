// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package resolve_test

import (
	"strings"
	"testing"
)

// zoned makes ready endpoints 1, 2, ..., one for each argument, which lists its hints
// separated by commas. The odd ones are on this node.
func zoned(hints ...string) *sliceBuilder {
	s := webSlice()
	for i, h := range hints {
		s.Ready(ep(i+1), []string{here, there}[i%2])
		if h != "" {
			s.ForZones(strings.Split(h, ",")...)
		}
	}
	return s
}

// byNode makes ready endpoints 1..4 on node-1, node-2, node-1, node-3, with a
// hint for that node and for a zone: 1 and 4 for a, 2 for b, 3 for c.
func byNode() *sliceBuilder {
	s := webSlice()
	zones := []string{"a", "b", "c", "a"}
	for i, node := range []string{"node-1", "node-2", "node-1", "node-3"} {
		s.Ready(ep(i+1), node).ForNodes(node).ForZones(zones[i])
	}
	return s
}

// TestCategorize covers which traffic an endpoint is used for: cluster-wide traffic (to
// the ClusterIP, or from outside under the policy Cluster), or local traffic.
func TestCategorize(t *testing.T) {
	in := func(zone string) *nodeBuilder { return thisNode().Zone(zone) }
	external := func() *serviceBuilder { return web().NodePort(3001).ExternalLocal() }
	abca := webSlice().Ready(ep(1), here).ForZones("a").Ready(ep(2), here).ForZones("b").
		Ready(ep(3), there).ForZones("c").Ready(ep(4), there).ForZones("a")
	lr := webSlice().Ready(ep(1), here).Ready(ep(2), there)
	for name, c := range map[string]struct {
		node    *nodeBuilder
		service *serviceBuilder
		slice   *sliceBuilder
		vip     string // endpoints of the ClusterIP, or the verdict
		np      string // endpoints of the node port from outside
	}{
		"T1 zone a":                            {in("a"), web(), zoned("a", "b", "c", "a"), "1 4", "pass"},
		"T2 external Local, hints":             {in("a"), external(), abca, "1 4", "1 2"},
		"T3 internal Local, hints":             {in("a"), web().NodePort(3001).InternalLocal(), abca, "1 2", "1 4"},
		"T4 node without zone":                 {in(""), web(), zoned("a", "b", "c", "a"), "1 2 3 4", "pass"},
		"T5 zone empty, hint empty":            {in(""), web(), zoned("a", "b").ForZones(""), "1 2", "pass"},
		"T6 zone that no hint names":           {in("b"), web(), zoned("a", "a", "a"), "1 2 3", "pass"},
		"T7 unready in my zone":                {in("a"), web(), zoned("a", "b", "c").Unready(ep(4), here).ForZones("a"), "1", "pass"},
		"T7 unready without hint":              {in("a"), web(), zoned("a", "b", "c").Unready(ep(4), here), "1", "pass"},
		"T7 terminating without hint":          {in("a"), web(), zoned("a", "b", "c").Terminating(ep(4), here), "1", "pass"},
		"T8 only unready in my zone":           {in("a"), web(), zoned("b", "b", "c").Unready(ep(4), here).ForZones("a"), "1 2 3", "pass"},
		"T9 a ready one without hint":          {in("a"), web(), zoned("a", "b", "", "a"), "1 2 3 4", "pass"},
		"T10 several hints":                    {in("c"), web(), zoned("a,b,c", "b,c", "b,d", "c"), "1 2 4", "pass"},
		"T11 node hints":                       {in("a").Named("node-1"), web(), byNode(), "1 3", "pass"},
		"T12 a ready one without any hint":     {in("a").Named("node-1"), web(), byNode().Ready(ep(5), "node-2"), "1 2 3 4 5", "pass"},
		"T12 a ready one without node hint":    {in("a").Named("node-1"), web(), byNode().Ready(ep(5), "node-2").ForZones("b"), "1 4", "pass"},
		"T13 no hint for this node":            {in("a").Named("node-0"), web(), byNode(), "1 4", "pass"},
		"T13 no hint for node or zone":         {in("d").Named("node-0"), web(), byNode(), "1 2 3 4", "pass"},
		"T14 internal Local, all remote":       {nil, web().InternalLocal(), webSlice().Ready(ep(1), there).Ready(ep(2), there), "DROP", "pass"},
		"T15 none":                             {nil, external(), webSlice(), "REJECT", "REJECT"},
		"T16 all unready":                      {nil, external(), webSlice().Unready(ep(1), here).Unready(ep(2), there), "REJECT", "REJECT"},
		"T17 all terminating":                  {nil, web(), webSlice().Terminating(ep(1), here).Terminating(ep(2), there), "1 2", "pass"},
		"T17 terminating ignore hints":         {in("a"), web(), webSlice().Terminating(ep(1), here).ForZones("a").Terminating(ep(2), there).ForZones("b"), "1 2", "pass"},
		"T18 internal Local, external Cluster": {nil, web().NodePort(3001).InternalLocal(), lr, "1", "1 2"},
		"T19 both Local, remote terminating":   {nil, external().InternalLocal(), webSlice().Terminating(ep(1), there).Terminating(ep(2), there), "DROP", "DROP"},
		"T20 external Local, own terminates":   {nil, external(), webSlice().Ready(ep(1), there).Unready(ep(2), here).Terminating(ep(3), here).Terminating(ep(4), there), "1", "3"},
		"T20 external Local, seen from there":  {thisNode().Named(there), external(), webSlice().Ready(ep(1), there).Terminating(ep(3), here).Terminating(ep(4), there), "1", "1"},
		"T22 neither ready nor serving":        {nil, external(), webSlice().Endpoint(ep(1), here, false, false, false), "REJECT", "REJECT"},
		"T22 terminating but not serving":      {nil, external(), webSlice().Endpoint(ep(1), here, false, false, true), "REJECT", "REJECT"},
		"internal Local, own terminates":       {nil, web().InternalLocal(), webSlice().Terminating(ep(1), here).Ready(ep(2), there), "1", "pass"},
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
			flowCase{node: c.node, inputs: one(input(c.service, c.slice)), flows: []flow{
				{"pod", "172.30.0.41:80", want(c.vip)}, {"out", "192.168.0.2:3001", np},
			}}.run(t)
		})
	}
}
