// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
)

// Probe says whether this kernel can run the mode: whether it supports nftables, IPVS,
// dummy links and the scheduler. Without options it tries all schedulers.
func (d *Dataplane) Probe(ctx context.Context, o dataplane.Options) (dataplane.Capability, error) {
	if err := d.filter.Probe(ctx); err != nil {
		return dataplane.Capability{}, err
	}
	if _, err := d.kernel.timeouts(); err != nil {
		return dataplane.Capability{}, fmt.Errorf("this kernel cannot run IPVS: %w", err)
	}
	if err := d.device.possible(); err != nil {
		if errors.Is(err, unix.EOPNOTSUPP) {
			err = dataplane.Unsupported(err)
		}
		return dataplane.Capability{}, fmt.Errorf("this kernel cannot run IPVS: %w", err)
	}
	wanted := allSchedulers
	if o != nil {
		wanted = []string{settingsOf(o).Scheduler}
	}
	found, err := schedulers(ctx, d.kernel, wanted)
	if err == nil && len(found) == 0 {
		err = dataplane.Unsupported(fmt.Errorf("this kernel has no scheduler %s (module ip_vs_%s)", wanted[0], wanted[0]))
	}
	return dataplane.Capability{Schedulers: found}, err
}

// allSchedulers are the schedulers of the API. Each is a kernel module.
var allSchedulers = []string{"rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "dh", "sed", "nq", "mh", "fo", "ovf"}

// probeMark is the firewall mark of the virtual server that a probe adds and deletes; no
// packet has it.
const probeMark = 0xf1ffffff

// schedulers returns which of some schedulers the kernel has or can load: those for which
// a virtual server can be added.
func schedulers(ctx context.Context, k kernel, names []string) ([]string, error) {
	key := onMark(corev1.IPv4Protocol, probeMark)
	// A server left over from a crash must not look like an error.
	if err := k.deleteServer(key); err != nil && !errors.Is(err, unix.ESRCH) {
		return nil, err
	}
	var found []string
	for _, name := range names {
		err := k.addServer(key, server{scheduler: name})
		if errors.Is(err, unix.ENOENT) {
			loadModule(ctx, "ip_vs_"+name)
			err = k.addServer(key, server{scheduler: name})
		}
		switch {
		case errors.Is(err, unix.ENOENT):
			continue
		case err != nil:
			return nil, err
		}
		if err := k.deleteServer(key); err != nil {
			return nil, err
		}
		found = append(found, name)
	}
	return found, nil
}

// loadTime is how long a module may take to load.
const loadTime = 10 * time.Second

// loadModule tries to load a module that the kernel has not loaded itself: the kernel does
// so on first use, if it finds modprobe. Without modprobe here, as in a container, or
// without the privilege, nothing happens. The caller finds out whether the module is
// there.
func loadModule(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(ctx, loadTime)
	defer cancel()
	_ = exec.CommandContext(ctx, "modprobe", "--quiet", name).Run()
}
