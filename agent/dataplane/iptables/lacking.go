// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

// lacking says what of desired this node cannot have.
func (d *Dataplane) lacking() error { return d.localhost.Lacking() }
