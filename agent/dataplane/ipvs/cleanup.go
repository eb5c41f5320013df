// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"errors"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Cleanup deletes our virtual servers, addresses and tables. It recognizes them as Sync
// does, and deletes them in the reverse order.
func (d *Dataplane) Cleanup(ctx context.Context) error {
	d.known = false // also if it fails
	if _, err := d.vips.read(); err != nil {
		return err
	}
	planned, err := d.filter.Plan(ctx, model.NewDesired())
	if err != nil {
		return err
	}
	r := serverRules{nodePorts: d.vips.elsewhere}
	if _, err := d.readBack(&r, change{}, planned, true); err != nil {
		return err
	}
	var errs []error
	for key := range d.servers.byKey {
		errs = append(errs, d.kernel.deleteServer(key))
	}
	d.reset()
	return errors.Join(append(errs, d.device.destroy(), d.filter.Cleanup(ctx))...)
}
