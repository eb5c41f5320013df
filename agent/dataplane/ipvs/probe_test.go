// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
)

// sparseKernel has a few schedulers, and what a probe makes.
type sparseKernel struct {
	kernel
	has     []string
	refuses error
	added   string // the scheduler of the one virtual server; empty: there is none
}

func (k *sparseKernel) addServer(_ serverKey, s server) error {
	switch {
	case k.refuses != nil:
		return k.refuses
	case k.added != "":
		return unix.EEXIST
	case !slices.Contains(k.has, s.scheduler):
		return fmt.Errorf("adding: %w", unix.ENOENT)
	}
	k.added = s.scheduler
	return nil
}

func (k *sparseKernel) deleteServer(serverKey) error {
	if k.added == "" {
		return fmt.Errorf("deleting: %w", unix.ESRCH)
	}
	k.added = ""
	return nil
}

func TestProbeSchedulers(t *testing.T) {
	t.Setenv("PATH", "") // no modprobe: it is not this machine's modules that are asked for
	world := newWorld()
	cases := map[string]struct {
		kernel sparseKernel
		name   string // empty: all
		want   []string
		err    error
	}{
		"all":                     {sparseKernel{has: allSchedulers}, "", allSchedulers, nil},
		"some":                    {sparseKernel{has: []string{"rr", "mh"}}, "", []string{"rr", "mh"}, nil},
		"one":                     {sparseKernel{has: []string{"rr", "mh"}}, "mh", []string{"mh"}, nil},
		"not that one":            {sparseKernel{has: []string{"rr", "mh"}}, "fo", nil, dataplane.ErrUnsupported},
		"none":                    {sparseKernel{}, "", nil, dataplane.ErrUnsupported},
		"left over from a crash":  {sparseKernel{has: []string{"rr"}, added: "rr"}, "", []string{"rr"}, nil},
		"not allowed to ask even": {sparseKernel{refuses: unix.EPERM}, "", nil, unix.EPERM},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			tc.kernel.kernel = fakeKernel{world}
			d := &Dataplane{kernel: &tc.kernel, device: fakeDevice{world}, filter: &fakeFilter{world: world}}
			var o dataplane.Options
			if tc.name != "" {
				o = Settings{Scheduler: tc.name}
			}
			found, err := d.Probe(t.Context(), o)
			if diff := cmp.Diff(tc.want, found.Schedulers); diff != "" || !errors.Is(err, tc.err) {
				t.Errorf("error %v, want %v; schedulers (-want +got):\n%s", err, tc.err, diff)
			}
			if tc.kernel.added != "" {
				t.Error("the probe has left its virtual server behind")
			}
		})
	}
}

// A kernel without dummy links has no place for the addresses.
func TestProbeWithoutDummy(t *testing.T) {
	n := newNode(t)
	if _, err := n.d.Probe(t.Context(), nil); err != nil {
		t.Error(err)
	}
	n.fail["possible"] = unix.EOPNOTSUPP
	if _, err := n.d.Probe(t.Context(), nil); !errors.Is(err, unix.EOPNOTSUPP) {
		t.Errorf("got %v, want that dummy links are not supported", err)
	}
}

// TestProbeLoadsModules asks a real kernel, which loads the modules for it.
func TestProbeLoadsModules(t *testing.T) {
	enterSpace(t)
	d := newDataplane(t)
	found, err := d.Probe(t.Context(), nil)
	got := found.Schedulers
	if err != nil || !slices.Contains(got, "rr") {
		t.Errorf("schedulers %v, error %v", got, err)
	}
	t.Logf("schedulers: %v", got)
	if left := run(t, "ip", "link"); strings.Contains(left, probeName) || strings.Contains(left, DeviceName) {
		t.Errorf("left behind: %s", left)
	}
	if left := run(t, "ipvsadm", "-Sn"); strings.TrimSpace(left) != "" {
		t.Errorf("left behind: %s", left)
	}
}
