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

// Probe says whether this kernel can run the mode: whether it has nftables, IPVS,
// dummy links and the scheduler. Without options it looks for all schedulers.
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
	found, err := d.schedulers(ctx, wanted)
	if err == nil && len(found) == 0 {
		err = dataplane.Unsupported(fmt.Errorf("this kernel has no scheduler %s (module ip_vs_%s)", wanted[0], wanted[0]))
	}
	return dataplane.Capability{Schedulers: found}, err
}

// allSchedulers are those that the API knows, each a module of the kernel.
var allSchedulers = []string{"rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "dh", "sed", "nq", "mh", "fo", "ovf"}

// probeMark is the firewall mark of the virtual server that a probe makes for a
// moment; no packet has it.
const probeMark = 0xf1ffffff

// schedulers returns which of some schedulers the kernel has or can load: it has one
// with which a virtual server can be made.
func (d *Dataplane) schedulers(ctx context.Context, names []string) ([]string, error) {
	key := onMark(corev1.IPv4Protocol, probeMark)
	// Left over from a crash, it would look like an error.
	if err := d.kernel.deleteServer(key); err != nil && !errors.Is(err, unix.ESRCH) {
		return nil, err
	}
	var found []string
	for _, name := range names {
		err := d.kernel.addServer(key, server{scheduler: name})
		if errors.Is(err, unix.ENOENT) {
			loadModule(ctx, "ip_vs_"+name)
			err = d.kernel.addServer(key, server{scheduler: name})
		}
		switch {
		case errors.Is(err, unix.ENOENT):
			continue
		case err != nil:
			return nil, err
		}
		if err := d.kernel.deleteServer(key); err != nil {
			return nil, err
		}
		found = append(found, name)
	}
	return found, nil
}

// loadTime is how long a module may take to load.
const loadTime = 10 * time.Second

// loadModule tries to load a module that the kernel has not loaded by itself: it
// does so when asked for what the module has, if it finds modprobe. Where there is
// no modprobe here either, as in a container, or no right to use it, nothing
// happens. Whoever calls it sees whether it has helped.
func loadModule(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(ctx, loadTime)
	defer cancel()
	_ = exec.CommandContext(ctx, "modprobe", "--quiet", name).Run()
}
