// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nattable

import (
	"net/netip"
	"testing"

	"github.com/go-logr/logr/testr"

	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
	"github.com/fairlead-proxy/fairlead/agent/kernel/netdev"
	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
)

// space is a network namespace of a test.
type space struct{ *netnstest.Space }

func newSpace(t testing.TB) *space {
	t.Helper()
	return &space{netnstest.NewSpace(t)}
}

// dataplane returns tables that translate.
func (s *space) dataplane() testTables { return s.tables(DNAT()) }

func (s *space) tables(target Target) testTables {
	s.T.Helper()
	client, err := nft.Dial(int(s.Handle))
	if err != nil {
		s.T.Fatal(err)
	}
	addresses := func() ([]netip.Addr, error) { return netdev.AddressesOf(netdev.Namespace(int(s.Handle))) }
	d := New(Options{Client: client, Target: target, Log: testr.NewWithInterface(s.T, testr.Options{}), Addresses: addresses})
	s.T.Cleanup(func() {
		if err := d.Close(); err != nil {
			s.T.Error(err)
		}
	})
	return testTables{d}
}
