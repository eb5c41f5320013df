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
	s := Service("web").Port("http", 80).ExternalIPs("1.2.3.4", "172.30.0.41", "1.2.3.5").LoadBalancer("1.2.3.4", "1.2.3.6")
	got := compile.ClaimedAddresses(Specs(compile.Service(Input(s)), corev1.IPv4Protocol)[0])
	if diff := cmp.Diff([]string{"1.2.3.4", "1.2.3.5", "1.2.3.6", "172.30.0.41"}, got); diff != "" {
		t.Error(diff)
	}
}
