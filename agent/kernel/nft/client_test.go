// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"testing"

	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
)

// dial returns a client for the namespace of a test.
func dial(t *testing.T, s *netnstest.Space) *Client {
	t.Helper()
	c, err := Dial(int(s.Handle))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}
