// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	testclock "k8s.io/utils/clock/testing"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/dataplane/fake"
	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

const (
	giantPorts, giantAddresses, giantEndpoints = 100, 10, 100

	// giantSlice is how many frontends of the giant fit into a slice, with one step.
	giantSlice = sliceBudget/(1+giantEndpoints) + 1
)

const giantName = "default.giant-v4-0"

// giant is a Service that takes many slices to program.
func giant() *v1alpha1.ServiceRuleSliceSpec {
	spec := v1alpha1.ServiceRuleSliceSpec{ServiceNamespace: "default", ServiceName: "giant", AddressFamily: corev1.IPv4Protocol, Parts: 1, ClusterIP: "10.96.9.9"}
	target := make([]int32, giantPorts)
	for i := range giantPorts {
		spec.Ports = append(spec.Ports, v1alpha1.RulePort{Name: fmt.Sprint("p", i), Protocol: corev1.ProtocolTCP, Port: int32(i + 1)})
		target[i] = int32(i + 1)
	}
	for i := range giantAddresses {
		spec.ExternalIPs = append(spec.ExternalIPs, fmt.Sprintf("192.0.2.%d", 100+i))
	}
	for i := range giantEndpoints {
		spec.Endpoints = append(spec.Endpoints, v1alpha1.RuleEndpoint{Address: fmt.Sprintf("10.244.2.%d", i+1), TargetPorts: target})
	}
	spec.Digest = model.Digest(spec)
	return &spec
}

// lastApply returns how many frontends and addresses the last call has changed.
func (h *harness) lastApply(t *testing.T) int {
	t.Helper()
	calls := h.kernel.Calls()
	last := calls[len(calls)-1]
	if last.Method != fake.Apply {
		t.Fatalf("the last call is %s, want Apply", last.Method)
	}
	return last.Result.Operations
}

// TestGiantDoesNotDelayOthers changes a small Service before each slice of a giant. A load
// balancer has the endpoints at each frontend, so fewer frontends fit into a slice.
func TestGiantDoesNotDelayOthers(t *testing.T) {
	const frontends = giantPorts * (giantAddresses + 1)
	t.Run("NAT", func(t *testing.T) {
		giantDoesNotDelayOthers(t, dataplane.Mode{Kind: dataplane.NAT}, sliceBudget, (frontends+giantPorts*giantEndpoints)/sliceBudget)
	})
	t.Run("NAT with few endpoints", func(t *testing.T) {
		const most = 1024 // of 100 ports 8 each
		giantDoesNotDelayOthers(t, dataplane.Mode{Kind: dataplane.NAT, MaxEndpoints: most}, sliceBudget, 1)
	})
	t.Run("NAT with small steps", func(t *testing.T) {
		const step = sliceBudget / 4
		giantDoesNotDelayOthers(t, dataplane.Mode{Kind: dataplane.NAT, MaxStep: step}, step, (frontends+giantPorts*giantEndpoints)/step)
	})
	t.Run("load balancer", func(t *testing.T) {
		giantDoesNotDelayOthers(t, dataplane.Mode{Kind: dataplane.LoadBalancer}, giantSlice, frontends/giantSlice)
	})
}

// giantDoesNotDelayOthers checks the maximum number of frontends in a slice, and the
// minimum number of slices.
func giantDoesNotDelayOthers(t *testing.T, mode dataplane.Mode, most, least int) {
	h := newHarness(t)
	web := agenttest.Web("10.96.0.1", "10.244.1.2")
	h.fromAPI(web)
	h.step(t.Context())
	h.dp.mode.Kind, h.dp.mode.MaxEndpoints, h.dp.mode.MaxStep = mode.Kind, mode.MaxEndpoints, mode.MaxStep
	reported := h.last.Programmed.Digest
	h.store.SetSlice(giantName, giant(), time.Time{})
	slices := 0
	for h.more = true; h.more; slices++ {
		web = agenttest.Web("10.96.0.1", fmt.Sprintf("10.244.1.%d", 3+slices))
		h.store.SetSlice(agenttest.WebName, web, time.Time{})
		h.step(t.Context())
		if n := h.lastApply(t); n > most+2 { // and those of the small Service
			t.Errorf("slice %d changes %d frontends and addresses, want at most %d", slices, n, most+2)
		}
		for key, f := range h.kernel.Kernel().Frontends {
			if key.Address.String() == web.ClusterIP && f.Internal.Endpoints[0].Addr().String() != web.Endpoints[0].Address {
				t.Errorf("slice %d does not have the change of the small Service", slices)
			}
		}
		if h.more && h.last.Programmed.Digest != reported {
			t.Errorf("slice %d of more is reported as programmed", slices)
		}
	}
	if slices < least || slices > 3*least {
		t.Errorf("the giant took %d slices, want between %d and %d", slices, least, 3*least)
	}
	if h.last.Programmed.Digest == reported {
		t.Error("what is programmed is not reported")
	}
	h.wantKernel(t, web, giant())
}

// TestSlicesDoNotWait lets the loop run by itself: there is one change, and no timer
// goes off.
func TestSlicesDoNotWait(t *testing.T) {
	h := newHarnessAt(t, testclock.NewFakeClock(time.Unix(1_800_000_000, 0)))
	h.fromAPI()
	h.step(t.Context())
	h.store.SetSlice(giantName, giant(), time.Time{})
	for h.more = true; h.more; {
		h.step(t.Context())
		if h.more {
			h.wait(t.Context(), nil, h.clock.NewTimer(readBackInterval)) // or the test hangs
		}
	}
	h.wantKernel(t, giant())
}

// TestFailedSlice checks that after an error everything is programmed at once.
func TestFailedSlice(t *testing.T) {
	h := newHarness(t)
	h.fromAPI()
	h.step(t.Context())
	h.store.SetSlice(giantName, giant(), time.Time{})
	h.step(t.Context())
	h.kernel.Fail(fake.Apply, errors.New("no"))
	h.step(t.Context())
	if h.more || !h.needSync {
		t.Fatalf("after an error: more %v, needSync %v", h.more, h.needSync)
	}
	h.step(t.Context())
	h.wantKernel(t, giant())
}
