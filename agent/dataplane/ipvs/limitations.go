// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// The kernel remembers a client as long as it knows one of its connections: TCP
// connections for 120 seconds after their end (TIME_WAIT in ip_vs_proto_tcp.c), UDP flows
// for their idle timeout, which can be set.
const (
	tcpRemembered = 120
	udpRemembered = 300 // by default
)

// minAffinity is the shortest session affinity timeout in seconds that a client can have.
func minAffinity(p model.Protocol, timeouts Timeouts) int32 {
	if p == model.UDP {
		return cmp.Or(timeouts.UDP, udpRemembered)
	}
	return tcpRemembered
}

// Reasons why something is not programmed as desired.
const (
	reasonAffinity dataplane.Reason = "AffinityTimeout"
	reasonRejected dataplane.Reason = "RealServer"
)

// limits are the limitations of IPVS: it decides which frontends are programmed, and
// records what of the desired state is not supported.
type limits struct {
	settings Settings // of the last Sync
	noIPv6   error
	leftOut  dataplane.LeftOut
	sizes    sizes
}

// reset deletes the records of frontends, before supported adds them again.
func (l *limits) reset(settings Settings, noIPv6 error) {
	l.settings, l.noIPv6 = settings, noIPv6
	l.leftOut.Clear(dataplane.ReasonIPv6)
	l.leftOut.Clear(reasonAffinity)
	l.leftOut.Clear(dataplane.ReasonEndpoints)
}

// excludes says whether frontends on an address are not programmed: it is in ExcludeCIDRs,
// or of a family that this node does not support.
func (l *limits) excludes(a netip.Addr) bool {
	return a.Is6() && l.noIPv6 != nil || l.settings.excluded(a)
}

// supported returns the desired state without the frontends that are not programmed, and
// records the limitations of all frontends.
func (l *limits) supported(desired model.Desired) model.Desired {
	if len(l.settings.ExcludeCIDRs) > 0 || l.noIPv6 != nil {
		desired.Frontends = maps.Clone(desired.Frontends)
		maps.DeleteFunc(desired.Frontends, func(k model.FrontendKey, f *model.Frontend) bool {
			l.noteIPv6(k, f)
			return l.excludes(k.Address)
		})
	}
	l.sizes.count(desired.Frontends)
	for key, f := range desired.Frontends {
		l.noteAffinity(key, f)
		l.noteSize(key, f)
	}
	return desired
}

// supportedChanges does the same as supported for changed frontends. It also returns other
// frontends that use more or fewer endpoints now; desired is the state after the changes.
func (l *limits) supportedChanges(changes []model.Change, desired *model.Desired) ([]model.Change, []*model.Frontend) {
	for _, c := range changes {
		l.noteIPv6(c.Key, c.New)
	}
	changes = slices.DeleteFunc(slices.Clone(changes), func(c model.Change) bool { return l.excludes(c.Key.Address) })
	var resized []*model.Frontend
	if services := l.sizes.change(changes); len(services) > 0 {
		for key, f := range desired.Frontends {
			if _, ok := services[f.Service]; ok && !l.excludes(key.Address) {
				resized = append(resized, f)
				l.noteSize(key, f)
			}
		}
	}
	for _, c := range changes {
		l.noteAffinity(c.Key, c.New)
		l.noteSize(c.Key, c.New)
	}
	return changes, resized
}

// noteAffinity records whether the session affinity timeout of a frontend (nil: removed) is
// too short for IPVS.
func (l *limits) noteAffinity(key model.FrontendKey, f *model.Frontend) {
	least := minAffinity(key.Protocol, l.settings.Timeouts)
	if f != nil && f.AffinityTimeoutSeconds > 0 && f.AffinityTimeoutSeconds < least {
		l.leftOut.Add(reasonAffinity, fmt.Sprintf("session affinity: %d seconds are clamped to %d, the least that IPVS can keep",
			f.AffinityTimeoutSeconds, least), key, f.Service)
	} else {
		l.leftOut.Remove(reasonAffinity, key)
	}
}

// noteSize records whether a frontend (nil: removed) has more endpoints than it uses.
func (l *limits) noteSize(key model.FrontendKey, f *model.Frontend) {
	if f != nil && l.sizes.exceeds(f) {
		l.leftOut.Add(dataplane.ReasonEndpoints, tooManyEndpoints, key, f.Service)
	} else {
		l.leftOut.Remove(dataplane.ReasonEndpoints, key)
	}
}

// noteIPv6 records an IPv6 frontend (nil: removed) if the node does not support IPv6.
func (l *limits) noteIPv6(key model.FrontendKey, f *model.Frontend) {
	if !l.settings.excluded(key.Address) {
		l.leftOut.NoIPv6(l.noIPv6, key, f)
	}
}

// limitations returns what IPVS does not support of the desired state. rejected has the
// kernel's errors for virtual servers with real servers that it rejects.
func (l *limits) limitations(desired *model.Desired, rejected map[serverKey]error) []dataplane.Limitation {
	var localhost error
	if desired.Node.NodePortLocalhost {
		localhost = errors.New("IPVS has no node ports on localhost")
	}
	l.leftOut.Node(dataplane.ReasonLocalhost, localhost)
	l.leftOut.Clear(reasonRejected)
	l.leftOut.Node(reasonRejected, nil)
	for _, key := range slices.SortedFunc(maps.Keys(rejected), serverKey.compare) {
		message := "kernel rejected real servers: " + rejected[key].Error()
		if f := frontendOf(desired, key); f != nil {
			l.leftOut.Add(reasonRejected, message, f.Key, f.Service)
		}
	}
	if len(rejected) > 0 && l.leftOut.Count(reasonRejected) == 0 { // only for firewall marks
		for key, err := range rejected {
			l.leftOut.Node(reasonRejected, fmt.Errorf("kernel rejected real servers of %s: %w", key, err))
		}
	}
	return l.leftOut.Limitations()
}

// frontendOf returns the frontend of a virtual server, nil for one with a firewall mark.
func frontendOf(desired *model.Desired, key serverKey) *model.Frontend {
	if key.mark != 0 {
		return nil
	}
	if f := desired.Frontends[key.FrontendKey]; f != nil {
		return f
	}
	return desired.Frontends[key.FrontendKey.NodePort()]
}
