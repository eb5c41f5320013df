// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/test/sim/apiserver"
)

// Who may use node ports.
const one, two, three = "203.0.1.0/24", "203.0.2.0/24", "203.0.3.0/24"

// claimsTests are what an agent reports, and whether it is found to be false.
var claimsTests = map[string]struct {
	do    func(*claimsTest)
	found bool
}{
	"what the kernel has": {func(c *claimsTest) {
		c.write(anywhere)
		c.has(one, anywhere)
		c.reports(1, anywhere)
	}, false},
	"another slice": {func(c *claimsTest) {
		c.write(anywhere)
		c.has(one, anywhere)
		c.write(local)
		c.reports(1, local)
	}, true},
	"a slice too many": {func(c *claimsTest) {
		c.write(anywhere)
		c.has(one)
		c.reports(1, anywhere)
	}, true},
	"an older slice, moments later": {func(c *claimsTest) {
		c.write(anywhere)
		c.has(one, anywhere)
		c.write(local)
		c.has(one, local)
		c.reports(1, anywhere)
	}, false},
	"the whole of a slice that an older schema had pruned": {func(c *claimsTest) {
		c.server.Prune(ruleSlices, newerFields...)
		c.write(local)
		c.write(second)
		c.server.Prune(ruleSlices)
		c.write(local)
		for _, slice := range []func() *v1alpha1.ServiceRuleSlice{local, second} { // the agent keeps the first
			c.server.Remove(v1alpha1.ControllerName, ruleSlices, slice().Name)
		}
		c.has(one, local)
		c.reports(1, local)
	}, false},
	"as a digest says, while one of the slices is pruned": {func(c *claimsTest) {
		c.write(local)
		c.has(one, local)
		c.server.Prune(ruleSlices, newerFields...)
		c.write(local)
		c.reports(1, local)
	}, false},
	"not as a digest says, while one of the slices is pruned": {func(c *claimsTest) {
		c.write(local)
		c.server.Prune(ruleSlices, newerFields...)
		c.write(local)
		c.has(one, anywhere)
		c.reports(1, local)
	}, true},
	"not as a digest says, after the slices were pruned": {func(c *claimsTest) {
		c.server.Prune(ruleSlices, newerFields...)
		c.write(local)
		c.server.Prune(ruleSlices)
		c.write(local)
		c.has(one, anywhere)
		c.reports(1, local)
	}, true},
	"another generation": {func(c *claimsTest) {
		c.has(one)
		c.ask(two)
		c.reports(2)
	}, true},
	"a generation that a restore has used again": {func(c *claimsTest) {
		backup := c.server.Backup()
		c.ask(three)
		c.server.Restore(backup)
		c.ask(two)
		c.has(two)
		c.reports(2)
	}, false},
	"a generation that a restore has used again, with neither spec": {func(c *claimsTest) {
		backup := c.server.Backup()
		c.ask(three)
		c.server.Restore(backup)
		c.ask(two)
		c.has(one)
		c.reports(2)
	}, true},
	"the generation of an object that was deleted": {func(c *claimsTest) {
		c.has(one)
		c.server.Remove(v1alpha1.ControllerName, ruleSets, aNode)
		c.ask(two)
		c.reports(1)
	}, true},
	"no generation": {func(c *claimsTest) {
		c.has(one)
		c.server.Remove(v1alpha1.ControllerName, ruleSets, aNode)
		c.ask(two)
		c.reports(0)
	}, false},
}

// TestClaims checks what is found of a node that reports what its kernel has not, and that
// nothing else is.
func TestClaims(t *testing.T) {
	for name, tc := range claimsTests {
		t.Run(name, func(t *testing.T) {
			c := newClaimsTest(t, one)
			tc.do(c)
			if found := len(c.failed) > 0; found != tc.found {
				t.Errorf("found %q", c.failed)
			}
		})
	}
}

// aNode is the node of claimsTest, and anAgent its agent.
const (
	aNode   = "node-0"
	anAgent = "node-0/1"
)

// claimsTest is an apiserver with slices and the NodeRuleSet of one node, and an agent whose
// kernel and reports are what a test says.
type claimsTest struct {
	t      *testing.T
	server *apiserver.Server
	agent  *life
	failed []string
}

func newClaimsTest(t *testing.T, sources string) *claimsTest {
	c := &claimsTest{t: t, server: apiserver.New(kinds...), agent: newLife(&node{}, nil)}
	agents := &lives{byName: map[string]*life{anAgent: c.agent}}
	claims := newClaims(agents, func(format string, args ...any) { c.failed = append(c.failed, fmt.Sprintf(format, args...)) })
	c.server.Written = func(client, resource string, old, now *apiserver.Object) {
		if resource == ruleSets {
			claims.set(client, now)
		} else {
			claims.slice(old, now)
		}
	}
	c.ask(sources)
	return c
}

// slice returns a Service's only slice, with an endpoint on another node than aNode.
func slice(service, ip string, policy v1alpha1.TrafficPolicy) *v1alpha1.ServiceRuleSlice {
	spec := v1alpha1.ServiceRuleSliceSpec{ServiceNamespace: "sim", ServiceName: service, AddressFamily: corev1.IPv4Protocol, Parts: 1,
		ClusterIP: ip, InternalTrafficPolicy: policy,
		Ports:     []v1alpha1.RulePort{{Name: "web", Protocol: corev1.ProtocolTCP, Port: 80}},
		Endpoints: []v1alpha1.RuleEndpoint{{Address: "10.64.0.1", NodeName: "node-1", TargetPorts: []int32{8080}}}}
	spec.Digest = model.Digest(spec)
	return &v1alpha1.ServiceRuleSlice{TypeMeta: metav1.TypeMeta{APIVersion: ours, Kind: "ServiceRuleSlice"},
		ObjectMeta: metav1.ObjectMeta{Name: model.SliceNameOf(&spec), Labels: model.SliceLabels(model.ServiceOf(&spec))}, Spec: spec}
}

// anywhere and local are slices of the same Service, second one of another.
func anywhere() *v1alpha1.ServiceRuleSlice { return slice("first", "10.96.0.1", "") }
func local() *v1alpha1.ServiceRuleSlice {
	return slice("first", "10.96.0.1", v1alpha1.TrafficPolicyLocal)
}
func second() *v1alpha1.ServiceRuleSlice { return slice("second", "10.96.0.2", "") }

// write has the controller write a slice.
func (c *claimsTest) write(slice func() *v1alpha1.ServiceRuleSlice) {
	c.t.Helper()
	if err := c.server.Apply(v1alpha1.ControllerName, ruleSlices, slice()); err != nil {
		c.t.Fatal(err)
	}
}

func rulesFor(sources string) v1alpha1.NodeRuleSetSpec {
	return v1alpha1.NodeRuleSetSpec{Mode: mode, NodePort: v1alpha1.NodePortOptions{SourceRanges: []string{sources}}}
}

// ask has the controller write the NodeRuleSet.
func (c *claimsTest) ask(sources string) {
	c.t.Helper()
	set := &v1alpha1.NodeRuleSet{TypeMeta: metav1.TypeMeta{APIVersion: ours, Kind: "NodeRuleSet"},
		ObjectMeta: metav1.ObjectMeta{Name: aNode}, Spec: rulesFor(sources)}
	if err := c.server.Apply(v1alpha1.ControllerName, ruleSets, set); err != nil {
		c.t.Fatal(err)
	}
}

// has has the agent program slices.
func (c *claimsTest) has(sources string, slices ...func() *v1alpha1.ServiceRuleSlice) {
	all := map[string]*v1alpha1.ServiceRuleSliceSpec{}
	for _, slice := range slices {
		s := slice()
		all[s.Name] = &s.Spec
	}
	c.agent.gets(resolved(aNode, rulesFor(sources), all, false))
}

// reports has the agent report a generation and slices as programmed.
func (c *claimsTest) reports(generation int64, slices ...func() *v1alpha1.ServiceRuleSlice) {
	c.t.Helper()
	var set v1alpha1.NodeRuleSet
	if err := c.server.Get(ruleSets, aNode).Decode(&set); err != nil {
		c.t.Fatal(err)
	}
	var digests []string
	for _, slice := range slices {
		digests = append(digests, slice().Spec.Digest)
	}
	set.Status.ObservedGeneration, set.Status.RulesDigest = generation, model.XORDigest(digests...)
	set.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionProgrammed, Status: metav1.ConditionTrue}}
	c.server.Put(anAgent, ruleSets, &set)
}
