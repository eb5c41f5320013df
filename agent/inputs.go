// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// inputs holds what the API, or the checkpoint, says that this node shall
// program, and what of it has changed since the loop last took it. Watches
// write it, the loop reads it.
type inputs struct {
	mu sync.Mutex

	node     *nodeRules
	nodeGone bool // the NodeRuleSet was deleted; node is the last that was there
	slices   map[types.NamespacedName]*v1alpha1.ServiceRuleSliceSpec
	parts    map[model.ServiceID][]types.NamespacedName // in slices
	digest   uint64                                     // XOR of the slices' digests

	restored                 bool // filled from the checkpoint
	nodeListed, slicesListed bool // the API has answered completely

	nodeChanged bool
	changed     map[types.NamespacedName]struct{} // slices
	dirty       map[model.ServiceID]struct{}
	since       time.Time // of the oldest change that was not taken

	now      func() time.Time
	wakeup   chan struct{}
	triggers *triggers
}

// nodeRules is what the agent needs of its NodeRuleSet.
type nodeRules struct {
	UID        types.UID
	Generation int64
	Spec       v1alpha1.NodeRuleSetSpec

	// reported are the conditions that the API held when this was read.
	reported []metav1.Condition
}

// changes is what the loop takes at once.
type changes struct {
	node     *nodeRules // set when it changed
	nodeGone bool
	slices   map[types.NamespacedName]*v1alpha1.ServiceRuleSliceSpec // nil: deleted
	services map[model.ServiceID][]*v1alpha1.ServiceRuleSliceSpec    // all parts; none: deleted
	digest   uint64
	count    int // of all slices
	fromAPI  bool
	since    time.Time
}

func newInputs(now func() time.Time) *inputs {
	return &inputs{
		slices:  map[types.NamespacedName]*v1alpha1.ServiceRuleSliceSpec{},
		parts:   map[model.ServiceID][]types.NamespacedName{},
		changed: map[types.NamespacedName]struct{}{},
		dirty:   map[model.ServiceID]struct{}{},
		now:     now,
		wakeup:  make(chan struct{}, 1),

		triggers: newTriggers(now),
	}
}

// notify wakes the loop. The caller holds mu.
func (in *inputs) notify() {
	if in.since.IsZero() {
		in.since = in.now()
	}
	in.wake()
}

// wake lets the loop report, though no input has changed.
func (in *inputs) wake() {
	select {
	case in.wakeup <- struct{}{}:
	default:
	}
}

func (in *inputs) setNode(n *nodeRules) {
	in.mu.Lock()
	defer in.mu.Unlock()
	same := in.node != nil && in.node.UID == n.UID && in.node.Generation == n.Generation
	if same && !in.nodeGone {
		return // only its status changed, most likely by our own report
	}
	in.nodeChanged = in.nodeChanged || !same
	in.node, in.nodeGone = n, false
	in.notify()
}

// loseNode notes that the NodeRuleSet is gone. Its last spec stays in force:
// taking the policy away must not take the traffic away.
func (in *inputs) loseNode() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.nodeGone = true
	in.notify()
}

func (in *inputs) nodeSynced() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.nodeListed = true
	in.notify()
}

func (in *inputs) setSlice(name types.NamespacedName, spec *v1alpha1.ServiceRuleSliceSpec) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.put(name, spec)
}

// put replaces a slice; nil deletes it. The caller holds mu.
func (in *inputs) put(name types.NamespacedName, spec *v1alpha1.ServiceRuleSliceSpec) {
	old := in.slices[name]
	if old == nil && spec == nil || old != nil && spec != nil && old.Digest == spec.Digest {
		return
	}
	if old != nil {
		id := serviceOf(name, old)
		in.parts[id] = slices.DeleteFunc(in.parts[id], func(part types.NamespacedName) bool { return part == name })
		if len(in.parts[id]) == 0 {
			delete(in.parts, id)
		}
		delete(in.slices, name)
		in.digest ^= digestOf(old)
		in.dirty[id] = struct{}{}
	}
	if spec != nil {
		spec = compact(spec)
		id := serviceOf(name, spec)
		in.parts[id] = append(in.parts[id], name)
		in.slices[name] = spec
		in.digest ^= digestOf(spec)
		in.dirty[id] = struct{}{}
	}
	in.changed[name] = struct{}{}
	in.notify()
}

// replaceSlices makes the slices equal to a complete list.
func (in *inputs) replaceSlices(list map[types.NamespacedName]*v1alpha1.ServiceRuleSliceSpec, fromAPI bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for name, spec := range list {
		in.put(name, spec)
	}
	for name := range in.slices {
		if list[name] == nil {
			in.put(name, nil)
		}
	}
	in.slicesListed = in.slicesListed || fromAPI
	in.notify()
}

// endpoints counts the endpoints of all slices.
func (in *inputs) endpoints() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	n := 0
	for _, spec := range in.slices {
		n += len(spec.Endpoints)
	}
	return n
}

// take returns what has changed since the last take, with everything dirty if
// the node's own rules have changed. ok is false while there is nothing
// complete to program: rules of a node without its Services, or the reverse,
// would take traffic away.
func (in *inputs) take() (changes, bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.complete() {
		return changes{}, false
	}
	c := changes{
		nodeGone: in.nodeGone,
		slices:   make(map[types.NamespacedName]*v1alpha1.ServiceRuleSliceSpec, len(in.changed)),
		services: make(map[model.ServiceID][]*v1alpha1.ServiceRuleSliceSpec, len(in.dirty)),
		digest:   in.digest,
		count:    len(in.slices),
		fromAPI:  in.nodeListed && in.slicesListed,
		since:    in.since,
	}
	if in.nodeChanged {
		c.node = in.node
		for id := range in.parts {
			in.dirty[id] = struct{}{}
		}
	}
	for name := range in.changed {
		c.slices[name] = in.slices[name]
	}
	for id := range in.dirty {
		var parts []*v1alpha1.ServiceRuleSliceSpec
		for _, name := range in.parts[id] {
			parts = append(parts, in.slices[name])
		}
		c.services[id] = parts
	}
	in.nodeChanged, in.since = false, time.Time{}
	// New maps: clearing one that has held everything once costs as much as
	// everything, each time.
	in.changed = map[types.NamespacedName]struct{}{}
	in.dirty = map[model.ServiceID]struct{}{}
	return c, true
}

// complete says whether there is something complete to program. The caller
// holds mu.
func (in *inputs) complete() bool {
	return in.node != nil && (in.restored || in.nodeListed && in.slicesListed)
}

// waiting returns since when a change waits to be taken that could be; zero:
// none does.
func (in *inputs) waiting() time.Time {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.complete() {
		return time.Time{}
	}
	return in.since
}

// restore fills the inputs from the checkpoint.
func (in *inputs) restore(node *nodeRules, slices map[types.NamespacedName]*v1alpha1.ServiceRuleSliceSpec) {
	in.setNode(node)
	in.replaceSlices(slices, false)
	in.mu.Lock()
	defer in.mu.Unlock()
	in.restored = true
}

// snapshot returns everything that the inputs hold.
func (in *inputs) snapshot() (*nodeRules, map[types.NamespacedName]*v1alpha1.ServiceRuleSliceSpec) {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.node, maps.Clone(in.slices)
}

func serviceOf(name types.NamespacedName, spec *v1alpha1.ServiceRuleSliceSpec) model.ServiceID {
	return model.ServiceID{Namespace: name.Namespace, Name: spec.ServiceName, Family: spec.AddressFamily}
}

// digestOf returns a slice's digest as a number. Text that is no digest counts
// as 0, which shows as a difference to what the controller wrote.
func digestOf(spec *v1alpha1.ServiceRuleSliceSpec) uint64 {
	n, err := strconv.ParseUint(spec.Digest, 16, 64)
	if err != nil {
		return 0
	}
	return n
}

func formatDigest(n uint64) string { return fmt.Sprintf("%016x", n) }
