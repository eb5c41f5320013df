// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/dataplane/nattable"
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
	if err := d.deleteServers(planned); err != nil {
		return err // the device and the table show which ones are left
	}
	d.reset()
	return errors.Join(d.device.destroy(), d.filter.Cleanup(ctx))
}

// maxLists bounds how often Cleanup lists the virtual servers.
const maxLists = 10

// deleteServers deletes our virtual servers. A list can miss some of them, so the last one has
// none.
func (d *Dataplane) deleteServers(planned nattable.Found) error {
	r := serverRules{nodePorts: d.vips.elsewhere}
	for range maxLists {
		if _, err := d.readAll(&r, change{}, planned); err != nil {
			return err
		}
		if len(d.servers.byKey) == 0 {
			return nil
		}
		if err := d.servers.clear(); err != nil {
			return err
		}
	}
	return errors.New("virtual servers come back while they are deleted")
}

// clear deletes all virtual servers that are known.
func (s *servers) clear() error {
	var errs []error
	for key := range s.byKey {
		err := s.kernel.deleteServer(key)
		if err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, err)
			continue
		}
		delete(s.byKey, key)
	}
	return errors.Join(errs...)
}
