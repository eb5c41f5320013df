// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"context"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/rules"
)

var _ dataplane.Retirer = (*Dataplane)(nil)

// Retire ends the sockets, so that no new connections come, and says whether the
// last one that is open has ended. Until then its address stays the node's.
func (d *Dataplane) Retire(context.Context, rules.Desired) (idle bool, err error) {
	if !d.retired {
		d.hangUp()
		d.desired = rules.NewDesired()
		if _, err := d.readBack(); err != nil {
			return false, err
		}
		d.known, d.adopted, d.retired = false, false, true
	}
	if _, err := d.setRoutes(nil); err != nil {
		return false, err
	}
	return len(d.proxy.open.open()) == 0, nil
}
