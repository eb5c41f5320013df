// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/rules/compile"
	. "github.com/fairlead-proxy/fairlead/rules/internal/rulestest"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// TestUnusedEndpoints checks which endpoints are in no slice, and why.
func TestUnusedEndpoints(t *testing.T) {
	unused := func(address string, port int32, node string, reason model.UnusedReason) compile.Unused {
		return compile.Unused{Address: netip.MustParseAddr(address), TargetPort: port, NodeName: node, Reason: reason}
	}
	cases := map[string]struct {
		service *ServiceBuilder
		slices  []*SliceBuilder
		want    []compile.Unused
	}{
		"ready": {
			Service("web").Port("", 80), []*SliceBuilder{Slice("web").Port("", 8080).Ready("10.0.0.1", Here)}, nil,
		},
		"not ready": {
			Service("web").Port("", 80),
			[]*SliceBuilder{Slice("web").Port("", 8080).Ready("10.0.0.1", Here).Unready("10.0.0.2", There)},
			[]compile.Unused{unused("10.0.0.2", 8080, There, model.UnusedNotReady)},
		},
		"terminating, and another is ready": {
			Service("web").Port("", 80),
			[]*SliceBuilder{Slice("web").Port("", 8080).Ready("10.0.0.1", Here).Terminating("10.0.0.2", There)},
			[]compile.Unused{unused("10.0.0.2", 8080, There, model.UnusedTerminating)},
		},
		"terminating, of a node without a ready one, with a policy Local": {
			Service("web").Port("", 80).InternalLocal(),
			[]*SliceBuilder{Slice("web").Port("", 8080).Ready("10.0.0.1", Here).Terminating("10.0.0.2", There)}, nil,
		},
		"terminating UDP, which keeps its flows": {
			Service("web").Port("", 80).Protocol("UDP"),
			[]*SliceBuilder{Slice("web").Port("", 8080).Protocol("UDP").Ready("10.0.0.1", Here).Terminating("10.0.0.2", There)}, nil,
		},
		"terminating and no more serving": {
			Service("web").Port("", 80),
			[]*SliceBuilder{Slice("web").Port("", 8080).Endpoint("10.0.0.2", There, false, false, true)},
			[]compile.Unused{unused("10.0.0.2", 8080, There, model.UnusedNotServing)},
		},
		"another name of the port": {
			Service("web").Port("http", 80),
			[]*SliceBuilder{Slice("web").Port("web", 8080).Ready("10.0.0.1", Here)},
			[]compile.Unused{unused("10.0.0.1", 0, Here, model.UnusedPortMissing)},
		},
		"another protocol": {
			Service("web").Port("dns", 53).Protocol("UDP"),
			[]*SliceBuilder{Slice("web").Port("dns", 53).Ready("10.0.0.1", Here)},
			[]compile.Unused{unused("10.0.0.1", 0, Here, model.UnusedPortMissing)},
		},
		"the port is in another slice": {
			Service("web").Port("http", 80),
			[]*SliceBuilder{
				Slice("web").Named("a").Port("web", 8080).Ready("10.0.0.1", Here),
				Slice("web").Named("b").Port("http", 8080).Ready("10.0.0.1", Here),
			}, nil,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			in := Input(tc.service, tc.slices...)
			port := Specs(compile.Service(in), "IPv4")[0].Ports[0]
			if diff := cmp.Diff(tc.want, compile.UnusedEndpoints(in, "IPv4", port), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Error(diff)
			}
		})
	}
}
