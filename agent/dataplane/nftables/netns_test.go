// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"testing"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/testr"

	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
)

// space is a network namespace of a test.
type space struct {
	*netnstest.Space
	quiet bool // without log
}

func newSpace(t testing.TB) *space {
	t.Helper()
	return &space{Space: netnstest.NewSpace(t)}
}

// dataplane returns a Dataplane for the namespace.
func (s *space) dataplane() *Dataplane {
	s.T.Helper()
	log := testr.NewWithInterface(s.T, testr.Options{})
	if s.quiet {
		log = logr.Discard()
	}
	d, err := New(Options{NetNS: int(s.Handle), Log: log, Sysctls: s})
	if err != nil {
		s.T.Fatal(err)
	}
	s.T.Cleanup(func() {
		if err := d.Close(); err != nil {
			s.T.Error(err)
		}
	})
	return d
}
