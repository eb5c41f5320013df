// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"cmp"
	"math"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Table holds everything that a node has to program, by Service, and returns what changed
// since the last Flush. The cost of a change is that of the changed Service, whatever the
// size of the table.
//
// Two Services may claim the same address and port, for example with an external IP that
// is the cluster IP of another. Then the same one wins on all nodes, in any order of
// arrival: a cluster IP before a load balancer IP before an external IP before a node
// port, then that of the older Service, then the first by namespace and name.
//
// The frontends of a port share state under their PortKey. If another Service wins that
// key, they share nothing: each of them has its own key as PortKey. So the frontend with
// the key PortKey always belongs to the same port.
//
// A Table is not safe for concurrent use.
type Table struct {
	settings model.NodeSettings
	services map[model.ServiceID]*claim
	names    map[serviceName]int                     // families in services
	sum      int                                     // of the claims' endpoints
	byKey    map[model.FrontendKey][]*model.Frontend // all claims, the winner first
	cluster  refCounts
	local    refCounts
	health   healthChecks
	stranded Stranded

	// What changed and is not flushed yet.
	flushedSettings *model.NodeSettings // those of the last Flush
	touched         map[model.FrontendKey]*touched
	flushes         int
}

// claim is what one Service adds to the table.
type claim struct {
	frontends []*model.Frontend
	local     []netip.Addr
	endpoints int          // distinct
	health    *HealthCheck // nil: none
	stranded  Stranded
}

type serviceName struct{ namespace, name string }

// NewTable returns an empty table.
func NewTable() *Table {
	return &Table{
		services: map[model.ServiceID]*claim{},
		names:    map[serviceName]int{},
		byKey:    map[model.FrontendKey][]*model.Frontend{},
		cluster:  newRefCounts(),
		local:    newRefCounts(),
		health:   newHealthChecks(),
		touched:  map[model.FrontendKey]*touched{},
	}
}

// SetNode sets the node's settings.
func (t *Table) SetNode(s model.NodeSettings) {
	if t.flushedSettings == nil {
		before := t.settings
		t.flushedSettings = &before
	}
	t.settings = s
}

// Node returns the node's settings.
func (t *Table) Node() model.NodeSettings { return t.settings }

// Set replaces the result of a Service; an empty result removes the Service.
func (t *Table) Set(id model.ServiceID, r Result) {
	old := t.services[id]
	if old == nil {
		old = &claim{}
	}
	now := newClaim(r)
	share(now.frontends, old.frontends)
	t.touch(id, old.frontends)
	t.touch(id, now.frontends)
	t.register(id, now)
	for _, f := range now.frontends {
		t.claim(f)
	}
	for _, f := range old.frontends {
		t.release(f)
	}
	for _, a := range now.local {
		t.local.add(a)
	}
	for _, a := range old.local {
		t.local.remove(a)
	}
	t.health.replace(old.health, now.health)
	t.stranded.Internal += now.stranded.Internal - old.stranded.Internal
	t.stranded.External += now.stranded.External - old.stranded.External
}

func newClaim(r Result) *claim {
	c := &claim{local: r.LocalEndpoints, stranded: r.Stranded}
	if check := r.HealthCheck; check.Port != 0 {
		c.health = &check
	}
	for _, f := range r.Frontends {
		c.frontends = append(c.frontends, &f)
	}
	c.endpoints = distinctEndpoints(c.frontends)
	return c
}

// register stores the claim of a Service, unless it is empty, and updates the counts.
func (t *Table) register(id model.ServiceID, now *claim) {
	name := serviceName{id.Namespace, id.Name}
	if old := t.services[id]; old != nil {
		t.sum -= old.endpoints
		if t.names[name]--; t.names[name] == 0 {
			delete(t.names, name)
		}
		delete(t.services, id)
	}
	if len(now.frontends) > 0 || len(now.local) > 0 || now.health != nil || now.stranded != (Stranded{}) {
		t.sum += now.endpoints
		t.names[name]++
		t.services[id] = now
	}
}

// Services lists the Services in the table.
func (t *Table) Services() []model.ServiceID {
	ids := make([]model.ServiceID, 0, len(t.services))
	for id := range t.services {
		ids = append(ids, id)
	}
	return ids
}

// touch notes what is programmed now for some frontends of a Service, before they are
// claimed or released. It also notes the other frontends of a port of another Service
// whose PortKey is one of theirs, because these change too.
func (t *Table) touch(id model.ServiceID, frontends []*model.Frontend) {
	for _, f := range frontends {
		t.note(f.Key)
		for _, rival := range t.byKey[f.Key] {
			if rival.Service == id || rival.PortKey != f.Key {
				continue
			}
			for _, sibling := range t.services[rival.Service].frontends {
				if sibling.PortKey == f.Key {
					t.note(sibling.Key)
				}
			}
		}
	}
}

// winner returns what is programmed for a key.
func (t *Table) winner(key model.FrontendKey) *model.Frontend {
	claims := t.byKey[key]
	if len(claims) == 0 {
		return nil
	}
	f := claims[0]
	if f.PortKey == f.Key || samePort(f, t.byKey[f.PortKey]) {
		return f
	}
	alone := *f
	alone.PortKey = f.Key
	return &alone
}

// samePort says whether the first of the claims belongs to the same port as f.
func samePort(f *model.Frontend, claims []*model.Frontend) bool {
	return len(claims) > 0 && claims[0].Service == f.Service && claims[0].PortName == f.PortName &&
		claims[0].PortKey == f.PortKey
}

func (t *Table) claim(f *model.Frontend) {
	claims := append(t.byKey[f.Key], f)
	slices.SortStableFunc(claims, precedence)
	t.byKey[f.Key] = claims
	if f.Kind == model.KindClusterIP {
		t.cluster.add(f.Key.Address)
	}
}

func (t *Table) release(f *model.Frontend) {
	claims := slices.DeleteFunc(t.byKey[f.Key], func(o *model.Frontend) bool { return o == f })
	if len(claims) == 0 {
		delete(t.byKey, f.Key)
	} else {
		t.byKey[f.Key] = claims
	}
	if f.Kind == model.KindClusterIP {
		t.cluster.remove(f.Key.Address)
	}
}

var kindOrder = map[model.Kind]int{model.KindClusterIP: 0, model.KindLoadBalancer: 1, model.KindExternalIP: 2, model.KindNodePort: 3}

func precedence(a, b *model.Frontend) int {
	return cmp.Or(
		cmp.Compare(kindOrder[a.Kind], kindOrder[b.Kind]),
		cmp.Compare(age(a), age(b)),
		cmp.Compare(a.Service.Namespace, b.Service.Namespace),
		cmp.Compare(a.Service.Name, b.Service.Name),
		cmp.Compare(a.PortName, b.PortName),
	)
}

// age orders frontends by the creation of their Service; unknown is last.
func age(f *model.Frontend) int64 {
	if f.Created == 0 {
		return math.MaxInt64
	}
	return f.Created
}

// createdOf returns Frontend.Created of a slice.
func createdOf(spec *v1alpha1.ServiceRuleSliceSpec) int64 {
	if spec.ServiceCreated.IsZero() {
		return 0
	}
	return spec.ServiceCreated.Unix()
}

// Desired returns everything in the table.
func (t *Table) Desired() model.Desired {
	d := model.NewDesired()
	d.Node = t.settings
	for key := range t.byKey {
		d.Frontends[key] = t.winner(key)
	}
	for addr := range t.cluster.count {
		d.ClusterIPs[addr] = struct{}{}
	}
	for addr := range t.local.count {
		d.LocalEndpoints[addr] = struct{}{}
	}
	return d
}

// Forwarding returns the families in which some frontend of the table has endpoints.
func (t *Table) Forwarding() (families []corev1.IPFamily) {
	for key := range t.byKey {
		f, family := t.winner(key), model.FamilyOf(key.Address)
		if !slices.Contains(families, family) && (f.Internal.Verdict == model.Forward || f.External.Verdict == model.Forward) {
			families = append(families, family)
		}
	}
	return families
}

// Counts is the size of a table.
type Counts struct {
	// Services counts a dual-stack Service once.
	Services  int
	Frontends int
	// Endpoints are the addresses and ports of each Service, in each family.
	Endpoints int
	// Stranded counts the ports in each family.
	Stranded Stranded
}

// Counts returns the size of the table.
func (t *Table) Counts() Counts {
	return Counts{Services: len(t.names), Frontends: len(t.byKey), Endpoints: t.sum, Stranded: t.stranded}
}

// refCounts is a set of addresses with a reference count for each. It returns what changed
// since the last flush.
type refCounts struct {
	count   map[netip.Addr]int
	touched map[netip.Addr]bool // whether it was in the set at the last flush
}

func newRefCounts() refCounts {
	return refCounts{count: map[netip.Addr]int{}, touched: map[netip.Addr]bool{}}
}

func (r *refCounts) add(a netip.Addr) {
	if _, seen := r.touched[a]; !seen {
		r.touched[a] = r.count[a] > 0
	}
	r.count[a]++
}

func (r *refCounts) remove(a netip.Addr) {
	if _, seen := r.touched[a]; !seen {
		r.touched[a] = r.count[a] > 0
	}
	if r.count[a]--; r.count[a] <= 0 {
		delete(r.count, a)
	}
}
