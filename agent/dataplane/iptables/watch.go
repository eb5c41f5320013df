// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import "context"

// Watch waits.
func (d *Dataplane) Watch(ctx context.Context, changed func()) error {
	<-ctx.Done()
	return nil
}
