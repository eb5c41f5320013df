// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package source holds what the API, or the journal, says that this node must program.
//
//	reflectors -> Store (latency stamps, mass removal) -> Changes, which the engine takes
package source

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Store holds what the API, or the checkpoint, says that this node must
// program, and what of it has changed since the loop last took it. Watches
// write it, the loop reads it.
type Store struct {
	mu sync.Mutex

	node     *NodeRules
	nodeGone bool       // the NodeRuleSet was deleted; node is the last that was there
	slices   sliceStore // in effect
	holds    holds      // changes of slices that are not in effect
	brake    brake
	refused  refusals

	given []string     // addresses of the apiserver in the agent's configuration, as host:port
	avoid []netip.Addr // addresses of the apiserver, as last taken

	restored                 bool // filled from the checkpoint
	nodeListed, slicesListed bool // the API has answered completely

	nodeChanged bool
	changed     map[string]struct{} // slices
	dirty       map[model.ServiceID]struct{}
	since       time.Time // of the oldest change that was not taken

	now     func() time.Time
	Wakeup  chan struct{}
	waiting func() // is called when a change waits to be taken; nil: nothing is
	latency *latency

	// Contact is when the apiserver has answered the agent.
	Contact *Contact
}

// NodeRules is what the agent needs of its NodeRuleSet.
type NodeRules struct {
	UID        types.UID
	Generation int64
	Spec       v1alpha1.NodeRuleSetSpec

	// Reported are the conditions that the API held when this was read.
	Reported []metav1.Condition
}

// Same says whether two have the same object and spec. The spec counts: an etcd that is
// restored from a backup uses generations again, and an older agent may have dropped fields
// when it wrote the checkpoint.
func (n *NodeRules) Same(o *NodeRules) bool {
	return n.UID == o.UID && n.Generation == o.Generation && equality.Semantic.DeepEqual(n.Spec, o.Spec)
}

// Changes is what the loop takes at once.
type Changes struct {
	Node     *NodeRules // set when it changed
	NodeGone bool
	Slices   map[string]*v1alpha1.ServiceRuleSliceSpec            // nil: deleted
	Services map[model.ServiceID][]*v1alpha1.ServiceRuleSliceSpec // all parts; none: deleted
	Digest   uint64
	Count    int   // of all slices
	Refused  error // names the slices in the API that are not taken; nil: there are none
	Held     Held
	FromAPI  bool
	Since    time.Time   // of the oldest
	Began    []time.Time // the moments at which the changes began that these slices show

	// APIServers are the addresses by which the agent reaches the apiserver, or may do so.
	// If they change, Services are all.
	APIServers []netip.Addr
}

// NewStore returns a store that holds nothing. now is the clock.
func NewStore(now func() time.Time) *Store {
	in := &Store{
		slices:  newSliceStore(),
		holds:   newHolds(),
		brake:   newBrake(now),
		refused: refusals{reasons: map[string]error{}},
		changed: map[string]struct{}{},
		dirty:   map[model.ServiceID]struct{}{},
		now:     now,
		Wakeup:  make(chan struct{}, 1),

		latency: newLatency(now),
	}
	in.Contact = &Contact{now: now, wake: in.Wake}
	return in
}

// notify wakes the loop. The caller holds mu.
func (in *Store) notify() {
	if in.since.IsZero() {
		in.since = in.now()
	}
	if in.waiting != nil {
		in.waiting()
	}
	in.Wake()
}

// OnChange has f called when a change waits to be taken, from any goroutine and perhaps at
// once; nil: nothing is called any more. f must not use the store.
func OnChange(in *Store, f func()) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.waiting = f
	if f != nil && !in.since.IsZero() {
		f()
	}
}

// Wake lets the loop report, though no input has changed.
func (in *Store) Wake() {
	select {
	case in.Wakeup <- struct{}{}:
	default:
	}
}

// SetNode replaces the node's rules.
func (in *Store) SetNode(n *NodeRules) {
	in.mu.Lock()
	defer in.mu.Unlock()
	same := in.node != nil && in.node.Same(n)
	if same && !in.nodeGone {
		return // only its status changed, most likely by our own report
	}
	in.nodeChanged = in.nodeChanged || !same
	in.node, in.nodeGone = n, false
	in.brake.limit = limitOf(n.Spec.MassRemoval)
	releaseAllowed(in)
	in.notify()
}

// LoseNode notes that the NodeRuleSet is gone. Its last spec stays active:
// taking the policy away must not take the traffic away.
func (in *Store) LoseNode() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.nodeGone = true
	in.notify()
}

// NodeSynced notes that the API has listed the node's rules.
func (in *Store) NodeSynced() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.nodeListed = true
	in.notify()
}

// SetSlice notes what the API shows of a slice; nil: the controller deletes it. began is when
// the change began that it shows; zero: unknown.
func (in *Store) SetSlice(name string, spec *v1alpha1.ServiceRuleSliceSpec, began time.Time) {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case spec != nil:
		in.latency.note(name, began)
	case in.slices.specs[name] != nil: // the same is shown again when it is gone
		in.latency.noteRemoval(name, began)
	}
	in.accept(name, spec, true)
	if in.refused.note(name, nil) {
		in.notify()
	}
}

// LoseSlice notes that a slice is gone, and not by the controller: its rules are held.
func (in *Store) LoseSlice(name string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.accept(name, nil, false)
	if in.refused.note(name, nil) {
		in.notify()
	}
}

// slice returns a slice; nil: there is none.
func (in *Store) slice(name string) *v1alpha1.ServiceRuleSliceSpec {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.slices.specs[name]
}

// refuse notes why a slice in the API is not taken. The last one of its name that was taken
// stays.
func (in *Store) refuse(name string, reason error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.refused.note(name, reason) {
		in.notify()
	}
}

// refuseOnly replaces the slices that are not taken.
func (in *Store) refuseOnly(reasons map[string]error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.refused = refusals{reasons: map[string]error{}, changed: true}
	for name, reason := range reasons {
		in.refused.note(name, reason)
	}
	in.notify()
}

// put replaces a slice; nil deletes it. The caller holds mu.
func (in *Store) put(name string, spec *v1alpha1.ServiceRuleSliceSpec) {
	services, changed := in.slices.set(name, spec)
	if !changed {
		return
	}
	for _, id := range services {
		in.dirty[id] = struct{}{}
	}
	in.changed[name] = struct{}{}
	in.brake.note(in.slices.usable)
	in.notify()
}

// ReplaceSlices makes the slices equal to a complete list. If it is from the API, what it
// takes away is held.
func (in *Store) ReplaceSlices(list map[string]*v1alpha1.ServiceRuleSliceSpec, fromAPI bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.latency.reset()
	obey := in.put
	if fromAPI {
		obey = func(name string, spec *v1alpha1.ServiceRuleSliceSpec) { in.accept(name, spec, false) }
	}
	for name, spec := range list {
		obey(name, spec)
	}
	for name := range in.slices.specs {
		if list[name] == nil {
			obey(name, nil)
		}
	}
	in.slicesListed = in.slicesListed || fromAPI
	in.notify()
}

// empty says whether the store holds no slice.
func (in *Store) empty() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.slices.specs) == 0
}

// Take returns what has changed since the last take, with everything dirty if
// the node's own rules have changed. ok is false while there is nothing
// complete to program: rules of a node without its Services, or the reverse,
// would take traffic away.
func (in *Store) Take() (Changes, bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.complete() {
		return Changes{}, false
	}
	c := Changes{
		NodeGone: in.nodeGone,
		Slices:   make(map[string]*v1alpha1.ServiceRuleSliceSpec, len(in.changed)),
		Services: make(map[model.ServiceID][]*v1alpha1.ServiceRuleSliceSpec, len(in.dirty)),
		Digest:   in.slices.digest,
		Count:    len(in.slices.specs),
		Refused:  in.refused.error(),
		Held:     in.holds.summarize(&in.slices),
		FromAPI:  in.nodeListed && in.slicesListed,
		Since:    in.since,
		Began:    in.latency.take(in.changed),
	}
	if in.nodeChanged {
		c.Node = in.node
	}
	c.APIServers = in.apiServerAddresses()
	if in.nodeChanged || !slices.Equal(c.APIServers, in.avoid) {
		in.avoid = c.APIServers
		for id := range in.slices.parts {
			in.dirty[id] = struct{}{}
		}
	}
	for name := range in.changed {
		c.Slices[name] = in.slices.specs[name]
	}
	for id := range in.dirty {
		c.Services[id] = in.slices.partsOf(id)
	}
	in.nodeChanged, in.since = false, time.Time{}
	// New maps: clearing one that has held everything once costs as much as
	// everything, each time.
	in.changed = map[string]struct{}{}
	in.dirty = map[model.ServiceID]struct{}{}
	return c, true
}

// Renew has the next Take return the node's rules and all Services, as if they had changed.
func Renew(in *Store) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.nodeChanged = true
	in.notify()
}

// complete says whether there is something complete to program. The caller
// holds mu.
func (in *Store) complete() bool {
	return in.node != nil && (in.restored || in.nodeListed && in.slicesListed)
}

// Waiting returns since when a change waits to be taken that could be; zero:
// none does.
func (in *Store) Waiting() time.Time {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.complete() {
		return time.Time{}
	}
	return in.since
}

// Unselected says whether the API has answered that there is no NodeRuleSet of this
// node, and there was none before: nothing is to be programmed.
func (in *Store) Unselected() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.nodeListed && in.node == nil
}

// Restore fills the store from the checkpoint.
func (in *Store) Restore(node *NodeRules, slices map[string]*v1alpha1.ServiceRuleSliceSpec) {
	in.SetNode(node)
	in.ReplaceSlices(slices, false)
	in.mu.Lock()
	defer in.mu.Unlock()
	in.restored = true
}

// Snapshot returns everything that the store holds.
func (in *Store) Snapshot() (*NodeRules, map[string]*v1alpha1.ServiceRuleSliceSpec) {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.node, maps.Clone(in.slices.specs)
}
