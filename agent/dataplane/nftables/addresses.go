// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// nodePortAddresses returns the addresses that node ports answer on.
func (d *Dataplane) nodePortAddresses(s *model.NodeSettings) (map[netip.Addr]struct{}, error) {
	if len(s.PodInterface) >= unix.IFNAMSIZ {
		return nil, fmt.Errorf("interface name %q is longer than %d characters", s.PodInterface, unix.IFNAMSIZ-1)
	}
	return s.NodePortsOn(d.addresses)
}
