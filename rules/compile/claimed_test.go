// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/rules/compile"
	. "github.com/fairlead-proxy/fairlead/rules/internal/rulestest"
)

func TestClaimedAddresses(t *testing.T) {
	for name, tc := range map[string]struct {
		service *ServiceBuilder
		want    []string
	}{
		"of all kinds, some twice": {Web().ExternalIPs("1.2.3.4", "172.30.0.41", "1.2.3.5").LoadBalancer("1.2.3.4", "1.2.3.6"),
			[]string{"1.2.3.4", "1.2.3.5", "1.2.3.6", "172.30.0.41"}},
		"the cluster IP only": {Web(), []string{"172.30.0.41"}},
		"an external IP":      {Web().ExternalIPs("192.0.2.7"), []string{"172.30.0.41", "192.0.2.7"}},
		"a load balancer IP":  {Web().LoadBalancer("192.0.2.7"), []string{"172.30.0.41", "192.0.2.7"}},
		"in order":            {Web().ExternalIPs("1.2.3.4").LoadBalancer("192.0.2.7"), []string{"1.2.3.4", "172.30.0.41", "192.0.2.7"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := compile.ClaimedAddresses(Specs(compile.Service(Input(tc.service)), corev1.IPv4Protocol)[0])
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
