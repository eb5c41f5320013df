// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"errors"
	"testing"

	"github.com/fairlead-proxy/fairlead/agent/internal/netnstest"
)

// TestAside checks that a dump is not on the client's socket, where the rest of one that is
// given up would delay the next call, and that it is of the client's namespace.
func TestAside(t *testing.T) {
	const elements = 3000
	c := dial(t, netnstest.NewSpace(t))
	tab, b := table(t, elements)
	if err := c.Commit(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	set := tab.NewSet(SetSpec{Name: "addresses", Key: []Field{tab.DestinationField()}})
	read := func(ctx context.Context, each func()) (n int, err error) {
		sent := c.Sent()
		err = c.Aside(func(r Reader) error {
			return ReadElements(ctx, r, set, func() { n = 0 }, func(Element) { n++; each() })
		})
		if c.Sent() != sent {
			t.Error("it is on the client's socket")
		}
		return n, err
	}
	ctx, cancel := context.WithCancel(t.Context())
	if n, err := read(ctx, cancel); !errors.Is(err, context.Canceled) || n == 0 || n == elements {
		t.Errorf("given up: %d elements, %v", n, err)
	}
	if n, err := read(t.Context(), func() {}); err != nil || n != elements {
		t.Errorf("after that: %d elements, %v", n, err)
	}
}
