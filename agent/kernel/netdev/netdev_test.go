// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package netdev

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
)

func TestAddressesOf(t *testing.T) {
	s := netnstest.NewSpace(t)
	s.Run("ip", "address", "add", "192.0.2.7/32", "dev", "lo")
	got, err := AddressesOf(Namespace(int(s.Handle)))
	if err != nil || !slices.Contains(got, netip.MustParseAddr("192.0.2.7")) {
		t.Errorf("%v, %v", got, err)
	}
}
