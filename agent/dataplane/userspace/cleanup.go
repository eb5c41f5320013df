// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"context"
	"errors"
)

// Cleanup closes all our sockets and removes all our routes.
func (d *Dataplane) Cleanup(context.Context) error {
	d.hangUp()
	routes, err := d.routing.table.routes()
	if err != nil {
		return err
	}
	var errs []error
	for _, r := range guardsFirst(routes) {
		errs = append(errs, d.routing.table.remove(r))
	}
	d.reset()
	return errors.Join(errs...)
}
