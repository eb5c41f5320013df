// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
	"github.com/fairlead-proxy/fairlead/test/sim/apiserver"
)

// claimAge bounds how old the state may be that a node reports as programmed: requests are
// done late, see apiserver.DoLate.
const claimAge = time.Minute

// maxClaims bounds how many states of the slices are known.
const maxClaims = 500

// content is what a kernel has, as text: a line for each frontend and one for the node.
type content string

func contentOf(d model.Desired) content {
	var lines []string
	for key, f := range d.Frontends {
		endpoints := slices.Clone(f.Internal.Endpoints)
		slices.SortFunc(endpoints, netip.AddrPort.Compare)
		lines = append(lines, fmt.Sprint(key, endpoints))
	}
	slices.Sort(lines)
	return content(strings.Join(append(lines, fmt.Sprintf("%+v", d.Node)), "\n"))
}

// without returns the lines that another content does not have.
func (c content) without(other content) []string {
	others := strings.Split(string(other), "\n")
	return slices.DeleteFunc(strings.Split(string(c), "\n"), func(line string) bool { return slices.Contains(others, line) })
}

// claims compares what nodes report with what their kernels have had. It follows the slices
// and the NodeRuleSets in the API, because a node reports a digest and a generation.
type claims struct {
	lives *lives
	fail  func(string, ...any)

	mu     sync.Mutex
	slices map[string]*v1alpha1.ServiceRuleSliceSpec // that agents take
	pruned map[string]bool                           // those of them without fields that their digests count
	states []sliceState                              // the newest last
	sets   map[types.UID][]v1alpha1.NodeRuleSet
}

// sliceState are all slices at some time, if none of them was pruned: a digest is about what the
// controller has compiled, and a kernel that has it may have had it whole.
type sliceState struct {
	digest string
	slices map[string]*v1alpha1.ServiceRuleSliceSpec
}

func newClaims(lives *lives, fail func(string, ...any)) *claims {
	c := &claims{lives: lives, fail: fail, slices: map[string]*v1alpha1.ServiceRuleSliceSpec{}, pruned: map[string]bool{},
		sets: map[types.UID][]v1alpha1.NodeRuleSet{}}
	c.note()
	return c
}

// restored follows a restored backup.
func (c *claims) restored(objects []*apiserver.Object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.slices)
	clear(c.pruned)
	for _, o := range objects {
		c.take(nil, o)
	}
	c.note()
}

// slice follows a written slice.
func (c *claims) slice(old, now *apiserver.Object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.take(old, now)
	c.note()
}

// take takes a slice as agents do.
func (c *claims) take(old, now *apiserver.Object) {
	if now == nil {
		c.drop(old.Meta.Name)
		return
	}
	var slice v1alpha1.ServiceRuleSlice
	switch err := now.Decode(&slice); {
	case err != nil:
		c.fail("the simulation fails: %v", err)
	case model.CheckOrigin(&slice) != nil:
	case model.IsObsolete(&slice):
		c.drop(slice.Name)
	case model.Digest(slice.Spec) != slice.Spec.Digest:
		c.slices[slice.Name], c.pruned[slice.Name] = &slice.Spec, true
	default:
		c.drop(slice.Name)
		c.slices[slice.Name] = &slice.Spec
	}
}

func (c *claims) drop(name string) {
	delete(c.slices, name)
	delete(c.pruned, name)
}

func (c *claims) note() {
	if len(c.pruned) > 0 {
		return
	}
	var digests []string
	for _, spec := range c.slices {
		digests = append(digests, spec.Digest)
	}
	c.states = append(c.states, sliceState{model.XORDigest(digests...), maps.Clone(c.slices)})
	if len(c.states) > maxClaims {
		c.states = slices.Clone(c.states[maxClaims/2:])
	}
}

// set checks what a node reports, if it is an agent that has written its NodeRuleSet.
func (c *claims) set(client string, now *apiserver.Object) {
	if now == nil {
		return
	}
	var set v1alpha1.NodeRuleSet
	if err := now.Decode(&set); err != nil {
		c.fail("the simulation fails: %v", err)
		return
	}
	l := c.lives.of(client)
	c.mu.Lock()
	defer c.mu.Unlock()
	if l == nil {
		c.sets[set.UID] = append(c.sets[set.UID], set)
		return
	}
	if l.driftedSince(time.Now().Add(-claimAge)) || l.node.mixed.Load() {
		return // it is not the agent that is wrong
	}
	var since time.Time // an agent that fails reports what it has programmed at some time
	if meta.IsStatusConditionTrue(set.Status.Conditions, v1alpha1.ConditionProgrammed) {
		since = time.Now().Add(-claimAge)
	}
	wanted := c.contents(set, l.old)
	if len(wanted) > 0 && !slices.ContainsFunc(wanted, func(c content) bool { return l.hadSince(c, since) }) {
		c.fail("%s reports as programmed what its kernel has not: %v, but %v", client, wanted[0].without(l.has()), l.has().without(wanted[0]))
	}
}

// contents returns what a kernel has that has what a node reports; none: it is not known.
func (c *claims) contents(set v1alpha1.NodeRuleSet, old bool) (out []content) {
	for _, s := range c.states {
		if s.digest != set.Status.RulesDigest {
			continue
		}
		for _, node := range c.sets[set.UID] {
			if node.Generation != set.Status.ObservedGeneration {
				continue
			}
			if want := resolved(node.Name, node.Spec, s.slices, old); !slices.Contains(out, want) {
				out = append(out, want)
			}
		}
	}
	return out
}

// resolved returns what a node's kernel has with some slices. old: the agent does not know
// newer fields.
func resolved(name string, spec v1alpha1.NodeRuleSetSpec, all map[string]*v1alpha1.ServiceRuleSliceSpec, old bool) content {
	node := resolve.Node{Name: name, Spec: spec, APIServers: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
	parts := map[model.ServiceID][]*v1alpha1.ServiceRuleSliceSpec{}
	for _, s := range all {
		if old {
			hidden := *s
			hidden.InternalTrafficPolicy = ""
			s = &hidden
		}
		parts[model.ServiceOf(s)] = append(parts[model.ServiceOf(s)], s)
	}
	table := resolve.NewTable()
	settings, _ := resolve.Settings(spec) // what is malformed is left out
	table.SetNode(settings)
	for id, slices := range parts {
		result, _ := resolve.Service(node, id, slices) // what is malformed is left out
		table.Set(id, result)
	}
	return contentOf(table.Desired())
}
