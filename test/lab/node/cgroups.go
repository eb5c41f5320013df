// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const cgroupRoot = "/sys/fs/cgroup"

// v1Controllers are the hierarchies of cgroup v1 that kubelet and runc use, if they are there.
var v1Controllers = []string{"cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "hugetlb"}

// unified reports whether the machine has only cgroup v2.
func unified() bool {
	_, err := os.Stat(filepath.Join(cgroupRoot, "cgroup.controllers"))
	return err == nil
}

// hierarchies are the folders of the machine's cgroup hierarchies.
func hierarchies() []string {
	if unified() {
		return []string{cgroupRoot}
	}
	var found []string
	for _, name := range append(slices.Clone(v1Controllers), "systemd", "unified") {
		dir := filepath.Join(cgroupRoot, name)
		if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err == nil {
			found = append(found, dir)
		}
	}
	return found
}

// CreateCgroups makes the node's cgroups, one in each hierarchy.
func CreateCgroups(group string) error {
	if unified() {
		if err := delegate(cgroupRoot, "rest"); err != nil {
			return fmt.Errorf("cgroup controllers: %w", err)
		}
	}
	for _, hierarchy := range hierarchies() {
		dir := filepath.Join(hierarchy, group)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("cgroup: %w", err)
		}
		if filepath.Base(hierarchy) != "cpuset" {
			continue
		}
		// A new cpuset has no CPU, and takes no process before it has one.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			value, err := os.ReadFile(filepath.Join(hierarchy, file))
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, file), value, 0)
			}
			if err != nil {
				return fmt.Errorf("cgroup: %w", err)
			}
		}
	}
	return nil
}

// delegate gives the children of a cgroup its controllers. One that has processes and is not the
// root of all, as in a container, can do that only after they are in a child.
func delegate(dir, child string) error {
	content, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	// All of them at once: cpu alone would be given beside processes, and memory never after that.
	all := ""
	for _, controller := range strings.Fields(string(content)) {
		all += " +" + controller
	}
	enable := func() error {
		return os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte(all), 0)
	}
	if err := enable(); !errors.Is(err, unix.EBUSY) {
		return err
	}
	child = filepath.Join(dir, child)
	if err := os.MkdirAll(child, 0o755); err != nil {
		return err
	}
	pids, err := processes(dir)
	if err != nil {
		return err
	}
	for _, pid := range pids {
		// One that has ended by now needs no place.
		err := os.WriteFile(filepath.Join(child, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return enable()
}

// join moves this process into the node's cgroups, which are the roots of what it sees from then
// on, and goes on as initStage: a cgroup namespace is the thread's that asks for it.
func join(config Config) error {
	runtime.LockOSThread()
	for _, hierarchy := range hierarchies() {
		err := os.WriteFile(filepath.Join(hierarchy, config.Group, "cgroup.procs"), []byte("0"), 0)
		if err != nil {
			return fmt.Errorf("join cgroup: %w", err)
		}
	}
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("cgroup namespace: %w", err)
	}
	return syscall.Exec("/proc/self/exe", []string{initStage, config.Name}, os.Environ())
}

// mountCgroups mounts the node's view of the hierarchies, below a new sysfs.
func mountCgroups() error {
	wasUnified, dirs := unified(), hierarchies()
	err := unix.Mount("sysfs", "/sys", "sysfs", 0, "")
	if errors.Is(err, unix.EBUSY) {
		// The node's network is the machine's, whose sysfs is there already. Its cgroups make room.
		err = detachBelow("/sys")
	}
	if err != nil {
		return fmt.Errorf("mount /sys: %w", err)
	}
	if wasUnified {
		if err := unix.Mount("cgroup2", cgroupRoot, "cgroup2", 0, ""); err != nil {
			return fmt.Errorf("mount cgroups: %w", err)
		}
		return delegate(cgroupRoot, "init")
	}
	if err := unix.Mount("tmpfs", cgroupRoot, "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount cgroups: %w", err)
	}
	for _, dir := range dirs {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		kind, options := "cgroup", filepath.Base(dir)
		switch options {
		case "unified":
			kind, options = "cgroup2", ""
		case "systemd":
			options = "none,name=systemd"
		}
		if err := unix.Mount("cgroup", dir, kind, 0, options); err != nil {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
	}
	return nil
}

// processes lists the processes of a cgroup, without those of its children.
func processes(dir string) ([]int, error) {
	content, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, field := range strings.Fields(string(content)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			return nil, err
		}
		// 0 is a process of another PID namespace.
		if pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
