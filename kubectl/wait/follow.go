// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package wait

import (
	"maps"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Follower follows the ServiceRuleSlices of a cluster. Several goroutines may use it.
type Follower struct {
	service types.NamespacedName

	mu    sync.Mutex
	used  map[string]slice
	sum   uint64              // XOR of the digests of used
	since map[string]struct{} // the digests of all states since the wanted one; nil: not reached
}

// slice is what is kept of a ServiceRuleSlice that nodes use.
type slice struct {
	digest string
	own    bool // of the Service
	family corev1.IPFamily
	parts  int32
}

// NewFollower returns one that knows no slice yet.
func NewFollower(service types.NamespacedName) *Follower {
	return &Follower{service: service, used: map[string]slice{}}
}

// Set notes a slice that was listed, added or changed. Nodes do not use those that are obsolete.
// Of one that the controller has not written they use the last state that it has.
func (f *Follower) Set(s *v1alpha1.ServiceRuleSlice) {
	switch {
	case model.CheckOrigin(s) != nil:
	case model.IsObsolete(s):
		f.Delete(s.Name)
	default:
		f.replace(s.Name, &slice{digest: s.Spec.Digest, own: model.ServiceNameOf(&s.Spec) == f.service,
			family: s.Spec.AddressFamily, parts: s.Spec.Parts})
	}
}

// Delete notes that a slice was deleted.
func (f *Follower) Delete(name string) { f.replace(name, nil) }

func (f *Follower) replace(name string, now *slice) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if old, known := f.used[name]; known {
		f.sum ^= model.DigestNumber(old.digest)
		delete(f.used, name)
	}
	if now != nil {
		f.sum ^= model.DigestNumber(now.digest)
		f.used[name] = *now
	}
	if f.since != nil {
		f.since[model.FormatDigest(f.sum)] = struct{}{}
	}
}

// Parts returns the number of parts that the Service's rules have in each family, which
// compile.Service takes.
func (f *Follower) Parts() map[corev1.IPFamily]int32 {
	f.mu.Lock()
	defer f.mu.Unlock()
	parts := map[corev1.IPFamily]int32{}
	for _, s := range f.used {
		if s.own {
			parts[s.family] = max(parts[s.family], s.parts)
		}
	}
	return parts
}

// Want compares the Service's slices with the wanted ones. If they are equal, the digests of this
// state and of all later ones are kept.
func (f *Follower) Want(wanted []compile.Slice) {
	f.mu.Lock()
	defer f.mu.Unlock()
	want, have := map[string]string{}, map[string]string{}
	for i := range wanted {
		want[wanted[i].Name] = wanted[i].Spec.Digest
	}
	for name, s := range f.used {
		if s.own {
			have[name] = s.digest
		}
	}
	if f.since == nil && maps.Equal(want, have) {
		f.since = map[string]struct{}{model.FormatDigest(f.sum): {}}
	}
}

// Reached says whether the Service's slices have been the wanted ones.
func (f *Follower) Reached() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.since != nil
}

// Has says whether a node that reports a digest has the wanted rules.
func (f *Follower) Has(digest string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, has := f.since[digest]
	return has
}
