// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// Remove removes the rules of kube-proxy, in the network namespace of the calling thread.
// Connections that are open go on: connection tracking translates their packets. Virtual servers
// of IPVS stay: those of a mode IPVS that is not active are what removes them.
func Remove(ctx context.Context) error {
	found, err := readRules(ctx)
	if err := errors.Join(err, found.remove(ctx)); err != nil {
		return err
	}
	left, err := readRules(ctx)
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("rules are left after their removal: %s", strings.Join(left.names(), ", "))
	}
	return err
}

func (r rules) remove(ctx context.Context) error {
	var errs []error
	for _, l := range r {
		if err := l.remove(ctx); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", l.name, err))
		}
	}
	if len(errs) == 0 && r.mode() == v1alpha1.KubeProxyIPVS {
		errs = append(errs, removeSets(ctx))
	}
	return errors.Join(errs...)
}

func removeTable(ctx context.Context, t *nft.Table) error {
	client, err := nft.Dial(0)
	if err != nil {
		return err
	}
	defer client.Close()
	return client.DeleteTable(ctx, t)
}

// setNames returns the names of the sets of the mode ipvs, in both families.
func setNames() (names []string) {
	const longest = 31 // of the kernel; kube-proxy cuts names off
	for _, name := range []string{
		"CLUSTER-IP", "LOOP-BACK", "EXTERNAL-IP", "EXTERNAL-IP-LOCAL", "IPVS-IPS", "HEALTH-CHECK-NODE-PORT",
		"LOAD-BALANCER", "LOAD-BALANCER-FW", "LOAD-BALANCER-LOCAL", "LOAD-BALANCER-SOURCE-IP", "LOAD-BALANCER-SOURCE-CIDR",
		"NODE-PORT-TCP", "NODE-PORT-LOCAL-TCP", "NODE-PORT-UDP", "NODE-PORT-LOCAL-UDP", "NODE-PORT-SCTP-HASH", "NODE-PORT-LOCAL-SCTP-HASH",
	} {
		names = append(names, "KUBE-"+name, ("KUBE-6-" + name)[:min(longest, len("KUBE-6-"+name))])
	}
	return names
}

// The kernel gives a set free some moments after the last rule that refers to it.
const (
	busyInterval = 50 * time.Millisecond
	busyTries    = 40
)

// removeSets destroys the sets that no rule refers to any more.
func removeSets(ctx context.Context) error {
	var errs []error
	for _, name := range setNames() {
		if err := removeSet(ctx, name); err != nil {
			errs = append(errs, fmt.Errorf("set %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

func removeSet(ctx context.Context, name string) error {
	for try := 1; ; try++ {
		err := netlink.IpsetDestroy(name)
		switch {
		case err == nil, errors.Is(err, unix.ENOENT):
			return nil
		case !errors.Is(err, nl.IPSetError(nl.IPSET_ERR_BUSY)) || try == busyTries:
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(busyInterval):
		}
	}
}
