// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/nattable"
	"github.com/fairlead-proxy/fairlead/agent/kernel/sysctl"
	"github.com/fairlead-proxy/fairlead/rules/inspection"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

var _ dataplane.Inspector = (*Dataplane)(nil)

// Inspect runs a Sync on a kernel that is only read: what the Sync would change differs. Real servers that
// drain are no difference, and the sources of virtual addresses are not compared.
func (d *Dataplane) Inspect(ctx context.Context, desired model.Desired, look dataplane.Look) (dataplane.Inspection, error) {
	if _, err := d.vips.read(); err != nil { // the tables ask for the node's addresses
		return dataplane.Inspection{}, err
	}
	l := &looking{kernel: d.kernel, desired: desired, differs: map[serverKey]bool{}, draining: map[serverKey]bool{}}
	table := &lookedTable{filter: d.filter, look: look}
	v := &vips{device: lookedDevice{d.vips.device, l}, netns: d.vips.netns}
	shadow := assemble(Options{Log: d.host.log}, d.clock, lookedKernel{d.kernel, l}, v, table)
	shadow.host.sysctls = lookedSysctls{d.host.sysctls, l}
	if _, err := shadow.Sync(ctx, desired, look.Options); err != nil {
		return dataplane.Inspection{}, err
	}
	l.Frontends, l.Differences = table.found.Frontends, append(l.Differences, table.found.Differences...)
	rules := shadow.serverRules()
	return l.Inspection, l.fill(&rules, table.found.Marks)
}

// looking notes what a Sync would change.
type looking struct {
	dataplane.Inspection
	kernel  kernel
	desired model.Desired

	differs  map[serverKey]bool // virtual servers
	draining map[serverKey]bool // those whose real servers all drain
}

// differ adds a difference of a virtual server, or of one of its real servers.
func (l *looking) differ(key serverKey, object string, problem inspection.Problem, have, want string) error {
	l.differs[key] = true
	var services []string
	if f := frontendOf(&l.desired, key); f != nil {
		services = append(services, inspection.ServiceOf(f))
	}
	l.Differ(object, problem, have, want, services...)
	return nil
}

// fill adds what the virtual servers do to the frontends, which the tables lead there.
func (l *looking) fill(r *serverRules, marks map[model.FrontendKey]uint32) error {
	byText := make(map[string]*model.Frontend, len(l.desired.Frontends))
	for key, f := range l.desired.Frontends {
		byText[key.String()] = f
	}
	for i := range l.Frontends {
		shown := &l.Frontends[i]
		shown.Rules = nil // those of nftables
		f := byText[shown.Address]
		if f == nil || !shown.Present {
			continue
		}
		keys := slices.SortedFunc(maps.Keys(r.servers(f, 0)), serverKey.compare)
		if err := l.lead(shown, shown.Internal, keys); err != nil {
			return err
		}
		if mark := marks[f.Key]; mark != 0 {
			keys = []serverKey{onMark(model.FamilyOf(f.Key.Address), mark)}
			if err := l.lead(shown, shown.External, keys); err != nil {
				return err
			}
		} else if b := shown.External; b != nil && b.Verdict == model.Forward && shown.Internal != nil {
			b.Endpoints = shown.Internal.Endpoints // by the same virtual servers
		}
	}
	return nil
}

// lead adds the real servers that a backend of a frontend leads to, by virtual servers with the same ones.
func (l *looking) lead(shown *inspection.Frontend, b *inspection.Backend, keys []serverKey) error {
	if b == nil || b.Verdict != model.Forward {
		return nil
	}
	for i, key := range keys {
		v, exists, err := l.kernel.server(key)
		if err != nil {
			return err
		}
		reals, err := l.kernel.realServers(key)
		if err != nil {
			return err
		}
		shown.Present = shown.Present && exists
		shown.Equal = shown.Equal && exists && !l.differs[key]
		if !exists {
			continue
		}
		shown.Rules = append(shown.Rules, v.rules(reals)...)
		if i > 0 {
			continue // the others have the same endpoints, or differ
		}
		var endpoints []model.Endpoint
		for _, r := range reals {
			if r.weight > 0 {
				endpoints = append(endpoints, r.endpoint)
			}
		}
		b.Endpoints = dataplane.EndpointTexts(endpoints)
	}
	return nil
}

// lookedKernel is IPVS that is only read.
type lookedKernel struct {
	kernel
	notes *looking
}

// realServers also notes whether all of them drain: the agent deletes those when they are idle, and then the
// virtual server, which no one desires any more.
func (k lookedKernel) realServers(key serverKey) ([]realServer, error) {
	reals, err := k.kernel.realServers(key)
	k.notes.draining[key] = len(reals) > 0 && !slices.ContainsFunc(reals, func(r realServer) bool { return r.weight > 0 })
	return reals, err
}

func (k lookedKernel) addServer(key serverKey, s server) error {
	return k.notes.differ(key, "virtual server "+key.String(), inspection.Missing, "", s.String())
}

func (k lookedKernel) setServer(key serverKey, s server) error {
	v, _, err := k.kernel.server(key)
	return errors.Join(err, k.notes.differ(key, "virtual server "+key.String(), inspection.Different, v.server.String(), s.String()))
}

func (k lookedKernel) deleteServer(key serverKey) error {
	if k.notes.draining[key] {
		return nil
	}
	return k.notes.differ(key, "virtual server "+key.String(), inspection.Superfluous, "", "")
}

func (k lookedKernel) addRealServer(key serverKey, r realServer) error {
	return k.notes.differ(key, realName(key, r.endpoint), inspection.Missing, "", "")
}

func (k lookedKernel) setRealServer(key serverKey, r realServer) error {
	if r.weight == 0 {
		return k.notes.differ(key, realName(key, r.endpoint), inspection.Superfluous, "", "")
	}
	return k.notes.differ(key, realName(key, r.endpoint), inspection.Different, "another weight", fmt.Sprint("weight ", r.weight))
}

// deleteRealServer follows setRealServer, or deletes one that drains.
func (k lookedKernel) deleteRealServer(serverKey, model.Endpoint) error { return nil }

func (k lookedKernel) setTimeouts(want Timeouts) error {
	have, err := k.timeouts()
	k.notes.Differ("timeouts of IPVS", inspection.Different, fmt.Sprintf("%+v", have), fmt.Sprintf("%+v", want))
	return err
}

func realName(key serverKey, e model.Endpoint) string {
	return "real server " + e.String() + " of " + key.String()
}

// lookedDevice is the device with the virtual addresses, which is only read.
type lookedDevice struct {
	device
	*looking
}

func (d lookedDevice) ensure() error {
	exists, err := d.exists()
	if err == nil && !exists {
		d.Differ("device "+DeviceName, inspection.Missing, "", "")
	}
	return err
}

func (d lookedDevice) add(a netip.Addr) error {
	d.Differ("address "+a.String()+" on "+DeviceName, inspection.Missing, "", "")
	return nil
}

func (d lookedDevice) remove(a netip.Addr) error {
	for key, drains := range d.draining {
		if drains && (key.Address == a || key.mark != 0 && key.family == model.FamilyOf(a)) {
			return nil
		}
	}
	d.Differ("address "+a.String()+" on "+DeviceName, inspection.Superfluous, "", "")
	return nil
}

func (d lookedDevice) clearSources() (int, error) { return 0, nil }

// lookedSysctls are kernel parameters that are only read.
type lookedSysctls struct {
	sysctl.Parameters
	*looking
}

func (s lookedSysctls) Set(name, value string) error {
	have, err := s.Get(name)
	s.Differ("sysctl "+name, inspection.Different, have, value)
	return err
}

// lookedTable is the tables, which are only read.
type lookedTable struct {
	filter
	look    dataplane.Look
	desired model.Desired
	found   nattable.Examined
}

func (t *lookedTable) Plan(ctx context.Context, desired model.Desired) (_ nattable.Found, err error) {
	t.desired = desired
	t.found, err = t.filter.Examine(ctx, desired, t.look)
	return t.found.Found, err
}

func (t *lookedTable) PlanDelta(model.Delta) error                          { return nil }
func (t *lookedTable) Commit(context.Context) (r dataplane.Result, _ error) { return r, nil }
func (t *lookedTable) Mark(key model.FrontendKey) uint32                    { return t.found.Marks[key] }
func (t *lookedTable) Desired() model.Desired                               { return t.desired }
func (t *lookedTable) NodePorts() map[netip.Addr]struct{}                   { return t.found.Answering }

func (t *lookedTable) IPv6Error() error {
	if t.look.NoIPv6 {
		return errNoIPv6
	}
	return nil
}

var errNoIPv6 = errors.New("the agent programs only IPv4")
