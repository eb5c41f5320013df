// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package resolve_test

import (
	"cmp"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/rules/compile"
	. "github.com/fairlead-proxy/fairlead/rules/internal/rulestest"
)

// TestClusterIPs asks where a Service answers, and why it does not.
func TestClusterIPs(t *testing.T) {
	const elsewhere = "node-9"
	const create, noEndpoint = "there is no such Service with a cluster IP: create it, or change the check",
		"172.30.0.41:80/tcp has no endpoint that this node may use: let one be ready, or remove the check"
	dual := func() *ServiceBuilder { return Web().IP("172.30.0.41", "fd00::41") }
	v4 := func() *SliceBuilder { return WebSlice().Ready("10.1.0.1", elsewhere) }
	v6 := WebSlice().Named("web-6").Kind("IPv6").Ready("fd01::1", elsewhere)
	for name, tc := range map[string]struct {
		service *ServiceBuilder
		slices  []*SliceBuilder
		other   *ServiceBuilder
		asked   string
		port    uint16
		want    string
	}{
		"answers":                    {service: Web(), slices: []*SliceBuilder{v4()}, want: "[172.30.0.41:80]"},
		"in both families":           {service: dual(), slices: []*SliceBuilder{v4(), v6}, want: "[172.30.0.41:80 [fd00::41]:80]"},
		"in one of two":              {service: dual(), slices: []*SliceBuilder{v6}, want: noEndpoint},
		"not at its other addresses": {service: Web().NodePort(30080).ExternalIPs("1.2.3.4").LoadBalancer("5.6.7.8"), slices: []*SliceBuilder{v4()}, want: "[172.30.0.41:80]"},
		"without endpoints":          {service: Web(), want: noEndpoint},
		"none is ready":              {service: Web(), slices: []*SliceBuilder{WebSlice().Unready("10.1.0.1", elsewhere)}, want: noEndpoint},
		"none on this node":          {service: Web().InternalLocal(), slices: []*SliceBuilder{v4()}, want: noEndpoint},
		"one on this node":           {service: Web().InternalLocal(), slices: []*SliceBuilder{WebSlice().Ready("10.1.0.1", ThisNode().Node.Name)}, want: "[172.30.0.41:80]"},
		"another port":               {service: Web(), slices: []*SliceBuilder{v4()}, port: 81, want: "it has no TCP port 81: change the check"},
		"another protocol":           {service: Web().Protocol(corev1.ProtocolUDP), slices: []*SliceBuilder{v4().Protocol(corev1.ProtocolUDP)}, want: "it has no TCP port 80: change the check"},
		"another Service":            {service: Web(), slices: []*SliceBuilder{v4()}, asked: "api", want: create},
		"headless":                   {service: Web().IP("None"), slices: []*SliceBuilder{v4()}, want: create},
		"another Service has the address": {service: Web().Created(2), slices: []*SliceBuilder{v4()}, other: Service("api").Created(1).Port("http", 80),
			want: "172.30.0.41:80/tcp is an address of the Service default/api (IPv4), too: change one of them"},
		"another Service has it as an external one": {service: Web(), slices: []*SliceBuilder{v4()}, other: Service("api").IP("172.30.0.42").ExternalIPs("172.30.0.41").Port("http", 80),
			want: "[172.30.0.41:80]"},
	} {
		t.Run(name, func(t *testing.T) {
			inputs := []compile.Input{Input(tc.service, tc.slices...)}
			if tc.other != nil {
				inputs = append(inputs, Input(tc.other))
			}
			table := TableOf(t, ThisNode().Node, inputs...)
			addresses, err := table.ClusterIPs("default", cmp.Or(tc.asked, "web"), cmp.Or(tc.port, 80))
			got := fmt.Sprint(addresses)
			if err != nil {
				got = err.Error()
			}
			if got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}
