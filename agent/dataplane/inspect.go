// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/fairlead-proxy/fairlead/rules/inspection"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Inspector is a Dataplane that can say what its kernel has. It compares the kernel with a desired
// state by what Sync would do, and does nothing of it. It may be one that has never programmed
// anything, beside another one that does.
type Inspector interface {
	Inspect(ctx context.Context, desired model.Desired, look Look) (Inspection, error)
}

// Look says what an Inspector looks at.
type Look struct {
	// Options are those that the agent has programmed with.
	Options Options
	// NoIPv6 says that the agent programs only IPv4. Nothing of IPv6 is desired then.
	NoIPv6 bool
	// Shows says which frontends to return; nil stands for one that is not desired. All are compared.
	Shows func(*model.Frontend) bool
}

// Inspection is what a kernel has, in any order.
type Inspection struct {
	Frontends   []inspection.Frontend
	Differences []inspection.Difference
}

// Differ adds a difference. Services are those of the frontends that the object is for.
func (i *Inspection) Differ(object string, p inspection.Problem, have, want string, services ...string) {
	slices.Sort(services)
	i.Differences = append(i.Differences, inspection.Difference{Object: object, Problem: p,
		Have: shorten(have), Want: shorten(want), Services: slices.Compact(services)})
}

// Compare adds a difference if an object is not there or is not wanted, or if it is not equal.
func (i *Inspection) Compare(object string, there, wanted, equal bool, have, want string, services ...string) {
	switch {
	case there && !wanted:
		i.Differ(object, inspection.Superfluous, have, "", services...)
	case wanted && !there:
		i.Differ(object, inspection.Missing, "", want, services...)
	case wanted && !equal:
		i.Differ(object, inspection.Different, have, want, services...)
	}
}

// FrontendOf returns a frontend as it is desired, or one that is not (nil).
func FrontendOf(key model.FrontendKey, f *model.Frontend) inspection.Frontend {
	out := inspection.Frontend{Address: key.String()}
	if f != nil {
		out.Service, out.Port, out.Kind = inspection.ServiceOf(f), f.PortName, f.Kind
	}
	return out
}

// EndpointTexts returns endpoints, sorted. Gaps are left out.
func EndpointTexts(list []model.Endpoint) (out []string) {
	for _, e := range slices.SortedFunc(slices.Values(list), netip.AddrPort.Compare) {
		if e.IsValid() {
			out = append(out, e.String())
		}
	}
	return out
}

// longest is how much of a content a difference has: the rest is no help to a reader.
const longest = 400

func shorten(text string) string {
	if len(text) <= longest {
		return text
	}
	return strings.ToValidUTF8(text[:longest], "") + "..."
}
