// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/test/lab/network"
	"github.com/fairlead-proxy/fairlead/test/lab/node"
)

// sweepTime is how long killed processes may take to be gone.
const sweepTime = 10 * time.Second

// Sweep removes what a lab is made of, running or left over: the processes in
// its namespaces and cgroups, these, the links of the namespaces, and the mounts
// below the state directory. Files stay; see Remove and Clear. The caller holds the lock.
func Sweep(config Config) error {
	ctx, cancel := context.WithTimeout(context.Background(), sweepTime)
	defer cancel()
	errs := []error{killInside(config.Prefix), node.Sweep(ctx, config.cgroupPrefix())}
	errs = append(errs, config.Topology().Teardown(), unmountBelow(config.Dir))
	return errors.Join(errs...)
}

// Remove deletes the state directory of a swept lab.
func Remove(config Config) error {
	if err := os.RemoveAll(config.Dir); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	return nil
}

// Clear empties the state directory of a swept lab, except the lock.
func Clear(config Config) error {
	entries, err := os.ReadDir(config.Dir)
	if err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	for _, entry := range entries {
		if entry.Name() == lockName {
			continue
		}
		if err := os.RemoveAll(filepath.Join(config.Dir, entry.Name())); err != nil {
			return fmt.Errorf("state directory: %w", err)
		}
	}
	return config.makeDirs()
}

// killInside kills every process that runs in a namespace of the lab and waits
// until all are gone. Killed ones may have started others in between.
func killInside(prefix string) error {
	ctx, cancel := context.WithTimeout(context.Background(), sweepTime)
	defer cancel()
	return poll(ctx, 10*time.Millisecond, func() error {
		pids, err := processesInside(prefix)
		if err != nil || len(pids) == 0 {
			return err
		}
		for _, pid := range pids {
			// ESRCH: gone by itself.
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("kill process %d: %w", pid, err)
			}
		}
		return fmt.Errorf("processes %v do not end", pids)
	})
}

// processesInside lists the processes all of whose threads are in namespaces of
// the lab. One that has only sent a thread there, to connect, is not the lab's.
func processesInside(prefix string) ([]int, error) {
	names, err := network.Names(prefix)
	if err != nil {
		return nil, err
	}
	spaces := map[unix.Stat_t]bool{}
	for _, name := range names {
		if id, ok := fileID("/run/netns/" + name); ok {
			spaces[id] = true
		}
	}
	// Never the machine's own, whatever a name may point to.
	if id, ok := fileID("/proc/1/ns/net"); ok {
		delete(spaces, id)
	}
	if id, ok := fileID("/proc/self/ns/net"); ok {
		delete(spaces, id)
	}
	if len(spaces) == 0 {
		return nil, nil
	}
	processes, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []int
	for _, process := range processes {
		pid, err := strconv.Atoi(process.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if id, ok := fileID(fmt.Sprintf("/proc/%d/ns/net", pid)); ok && spaces[id] && allThreadsIn(pid, spaces) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

func allThreadsIn(pid int, spaces map[unix.Stat_t]bool) bool {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/ns/net", pid))
	if err != nil {
		return false
	}
	return !slices.ContainsFunc(threads, func(thread string) bool {
		id, ok := fileID(thread)
		return ok && !spaces[id]
	})
}

// fileID identifies a namespace. Not ok: it does not exist any more.
func fileID(path string) (unix.Stat_t, bool) {
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		return unix.Stat_t{}, false
	}
	return unix.Stat_t{Dev: stat.Dev, Ino: stat.Ino}, true
}

// unmountBelow unmounts everything mounted below a directory, the last first.
func unmountBelow(dir string) error {
	mounts, err := mountsBelow(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, mount := range slices.Backward(mounts) {
		if err := unix.Unmount(mount, unix.MNT_DETACH); err != nil {
			errs = append(errs, fmt.Errorf("unmount %s: %w", mount, err))
		}
	}
	return errors.Join(errs...)
}

func mountsBelow(dir string) ([]string, error) {
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	var mounts []string
	for line := range strings.Lines(string(info)) {
		fields := strings.Fields(line)
		if len(fields) > 4 && strings.HasPrefix(fields[4], dir+"/") {
			mounts = append(mounts, fields[4])
		}
	}
	return mounts, nil
}

// poll calls fn until it succeeds. When ctx ends first, it returns fn's last
// error.
func poll(ctx context.Context, interval time.Duration, fn func() error) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		err := fn()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, context.Cause(ctx))
		case <-ticker.C:
		}
	}
}
