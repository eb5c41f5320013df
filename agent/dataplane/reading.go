// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package dataplane

import "context"

// readingKey is the key of a context's value: the context to read the kernel with.
type readingKey struct{}

// WithReading returns a context for a Sync that need not read the kernel to the end.
// reading is a child of ctx that ends when a change waits. A Dataplane that knows what it
// has programmed goes on from that then, see Result.Interrupted.
func WithReading(ctx, reading context.Context) context.Context {
	return context.WithValue(ctx, readingKey{}, reading)
}

// Reading returns the context to read the kernel with, in a Sync of a Dataplane that knows
// what it has programmed: the one of WithReading, or else ctx. Without that knowledge a
// Sync reads with ctx.
func Reading(ctx context.Context) context.Context {
	if reading, ok := ctx.Value(readingKey{}).(context.Context); ok {
		return reading
	}
	return ctx
}

// Interrupted says whether a context of Reading has ended for a change that waits, and not
// with the context of its Sync.
func Interrupted(ctx, reading context.Context) bool { return reading.Err() != nil && ctx.Err() == nil }
