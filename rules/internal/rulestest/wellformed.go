// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rulestest

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// CheckResult checks the invariants that every dataplane relies on.
func CheckResult(t *testing.T, id model.ServiceID, r resolve.Result) {
	t.Helper()
	for _, f := range r.Frontends {
		if err := checkFrontend(id, f); err != nil {
			t.Errorf("%s %s: %v in %+v", f.Kind, f.Key, err, f)
		}
	}
	if !slices.IsSortedFunc(r.LocalEndpoints, netip.Addr.Compare) || len(slices.Compact(slices.Clone(r.LocalEndpoints))) != len(r.LocalEndpoints) {
		t.Errorf("local endpoints are not sorted and distinct: %v", r.LocalEndpoints)
	}
	for _, a := range r.LocalEndpoints {
		if err := model.ValidateEndpointAddress(a); err != nil {
			t.Error(err)
		}
	}
}

// CheckPorts checks that the frontends of a port, and no others, share their endpoints.
func CheckPorts(d model.Desired) error {
	type list struct {
		home  model.FrontendKey
		local bool
	}
	lists := map[list][]model.Endpoint{}
	for _, f := range d.Frontends {
		home := d.Frontends[f.PortKey]
		if home == nil || home.PortKey != home.Key || home.Service != f.Service || home.PortName != f.PortName ||
			home.AffinityTimeoutSeconds != f.AffinityTimeoutSeconds {
			return fmt.Errorf("%s of %s has the port key of %+v", f.Key, f.Service, home)
		}
		for _, b := range []model.Backend{f.Internal, f.External} {
			l := list{f.PortKey, b.Local}
			if have, known := lists[l]; known && b.Verdict == model.Forward && !slices.Equal(have, b.Endpoints) {
				return fmt.Errorf("%s of %s leads to %v, others to %v", f.Key, f.Service, b.Endpoints, have)
			}
			if b.Verdict == model.Forward {
				lists[l] = b.Endpoints
			}
		}
	}
	return nil
}

func checkFrontend(id model.ServiceID, f model.Frontend) error {
	a := f.Key.Address
	is4 := a.Is4()
	switch {
	case !a.IsValid() || a.Is4In6() || a.Zone() != "":
		return fmt.Errorf("address is not canonical")
	case f.Key.IsNodePort() != (f.Kind == model.KindNodePort):
		return fmt.Errorf("unspecified address of a %s", f.Kind)
	case a.IsLoopback() || a.IsMulticast():
		return fmt.Errorf("special address")
	case f.Key.Port == 0:
		return fmt.Errorf("port 0")
	case f.Key.Protocol != model.TCP && f.Key.Protocol != model.UDP && f.Key.Protocol != model.SCTP:
		return fmt.Errorf("protocol")
	case f.Service != id:
		return fmt.Errorf("service")
	case f.Restricted && f.Kind != model.KindLoadBalancer && f.Kind != model.KindNodePort,
		len(f.Sources) > 0 && (!f.Restricted || f.Kind != model.KindLoadBalancer):
		return fmt.Errorf("restricted")
	case f.PortKey.Protocol != f.Key.Protocol || !f.PortKey.Address.IsValid() || f.PortKey.Address.Is4() != is4:
		return fmt.Errorf("port key %s", f.PortKey)
	}
	for i, s := range f.Sources {
		if s != s.Masked() || s.Addr().Is4() != is4 || i > 0 && model.ComparePrefix(f.Sources[i-1], s) >= 0 {
			return fmt.Errorf("sources %v", f.Sources)
		}
	}
	if f.Key.Protocol != model.UDP && len(f.Serving) > 0 || !slices.IsSortedFunc(f.Serving, model.Endpoint.Compare) {
		return fmt.Errorf("serving %v", f.Serving)
	}
	for _, b := range []model.Backend{f.Internal, f.External} {
		if (b.Verdict == model.Forward) != (len(b.Endpoints) > 0) || (b.Verdict == model.Forward) != (b.Masquerade != "") {
			return fmt.Errorf("verdict %s with %d endpoints and masquerade %q", b.Verdict, len(b.Endpoints), b.Masquerade)
		}
		if b.Verdict != model.Forward && b.Verdict != model.Reject && b.Verdict != model.Drop {
			return fmt.Errorf("verdict %q", b.Verdict)
		}
		if b.Local && b.Verdict != model.Forward {
			return fmt.Errorf("local endpoints with verdict %s", b.Verdict)
		}
		for i, e := range b.Endpoints {
			if err := model.ValidateEndpointAddress(e.Addr()); err != nil {
				return err
			}
			if f.Key.Protocol == model.UDP && !slices.Contains(f.Serving, e) {
				return fmt.Errorf("%s is used and does not serve: %v", e, f.Serving)
			}
			if e.Port() == 0 || e.Addr().Is4() != is4 || e.Addr().Is4In6() || e.Addr().Zone() != "" || i > 0 && b.Endpoints[i-1].Compare(e) >= 0 {
				return fmt.Errorf("endpoints %v", b.Endpoints)
			}
		}
	}
	return nil
}
