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
)

// Probe says whether this kernel can run the mode: whether it has nftables, IPVS and
// dummy links. What it can do with IPVS is for ProbeSchedulers to say.
func (d *Dataplane) Probe(ctx context.Context) error {
	if err := d.filter.Probe(ctx); err != nil {
		return err
	}
	if _, err := d.kernel.timeouts(); err != nil {
		return fmt.Errorf("this kernel cannot run IPVS: %w", err)
	}
	if err := d.device.possible(); err != nil {
		return fmt.Errorf("this kernel cannot run IPVS: %w", err)
	}
	return nil
}

// allSchedulers are those that the API knows, each a module of the kernel.
var allSchedulers = []string{"rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "dh", "sed", "nq", "mh", "fo", "ovf"}

// probeMark is the firewall mark of the virtual server that a probe makes for a
// moment; no packet has it.
const probeMark = 0xf1ffffff

// ProbeSchedulers returns which of some schedulers (none named: of all) the kernel
// has or can load: it has one with which a virtual server can be made.
func (d *Dataplane) ProbeSchedulers(ctx context.Context, names ...string) ([]string, error) {
	if len(names) == 0 {
		names = allSchedulers
	}
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
