// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// netnsDir is where iproute2 keeps named network namespaces, so that
// `ip netns exec` works on the lab's.
const netnsDir = "/run/netns"

func pathOf(name string) string { return filepath.Join(netnsDir, name) }

// Do runs fn on an OS thread that is inside the network namespace held by the
// file netnsPath. Sockets that fn opens and processes that it starts are
// inside; goroutines that it starts are not. The thread outlives the call.
func Do(netnsPath string, fn func() error) error {
	result := make(chan error, 1)
	// A goroutine of its own: should the way back fail, it ends while locked
	// and Go throws the thread away instead of reusing it in a wrong namespace.
	go func() {
		runtime.LockOSThread()
		home, err := doOnThread(netnsPath, fn)
		if home {
			runtime.UnlockOSThread()
		}
		result <- err
	}()
	return <-result
}

// DoOnThread is Do for a caller that has locked its goroutine to an OS thread,
// to start processes that must end with that thread. After an error the
// thread may be left inside.
func DoOnThread(netnsPath string, fn func() error) error {
	_, err := doOnThread(netnsPath, fn)
	return err
}

// doOnThread reports whether the thread is back where it was.
func doOnThread(netnsPath string, fn func() error) (home bool, err error) {
	target, err := netns.GetFromPath(netnsPath)
	if err != nil {
		return true, fmt.Errorf("network namespace %s: %w", netnsPath, err)
	}
	defer target.Close()
	origin, err := netns.Get()
	if err != nil {
		return true, fmt.Errorf("own network namespace: %w", err)
	}
	defer origin.Close()
	if err := netns.Set(target); err != nil {
		return true, fmt.Errorf("enter network namespace %s: %w", netnsPath, err)
	}
	err = fn()
	if leave := netns.Set(origin); leave != nil {
		return false, errors.Join(err, fmt.Errorf("leave network namespace %s: %w", netnsPath, leave))
	}
	return true, err
}

// DialContext returns a dial function, fit for http.Transport and rest.Config,
// whose connections start in the network namespace held by netnsPath. It takes
// IP addresses only: names would be resolved outside of the namespace.
func DialContext(netnsPath string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, fmt.Errorf("dial %s: %w", address, err)
		}
		if net.ParseIP(host) == nil {
			return nil, fmt.Errorf("dial %s: not an IP address", address)
		}
		var conn net.Conn
		err = Do(netnsPath, func() (err error) {
			conn, err = new(net.Dialer).DialContext(ctx, network, address)
			return err
		})
		return conn, err
	}
}

// Listen opens a listening TCP socket in the network namespace held by
// netnsPath. Connections may be accepted from any thread.
func Listen(netnsPath, address string) (net.Listener, error) {
	var listener net.Listener
	err := Do(netnsPath, func() (err error) {
		listener, err = net.Listen("tcp", address)
		return err
	})
	return listener, err
}

// createNamespace makes a named network namespace, as `ip netns add` does.
func createNamespace(path string) error {
	if err := shareNetnsDir(); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o444)
	if err != nil {
		return fmt.Errorf("name network namespace: %w", err)
	}
	file.Close()
	result := make(chan error, 1)
	// As in Do. Even so the thread comes back: Go does not end the process's first
	// thread but parks it, for good, and it is the one that /proc/self shows.
	go func() {
		runtime.LockOSThread()
		home, err := mountNewNamespace(path)
		if home {
			runtime.UnlockOSThread()
		}
		result <- err
	}()
	if err := <-result; err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// mountNewNamespace reports whether the thread is back where it was.
func mountNewNamespace(path string) (home bool, err error) {
	origin, err := netns.Get()
	if err != nil {
		return true, fmt.Errorf("own network namespace: %w", err)
	}
	defer origin.Close()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return true, fmt.Errorf("new network namespace: %w", err)
	}
	if err = unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, ""); err != nil {
		err = fmt.Errorf("mount %s: %w", path, err)
	}
	if leave := netns.Set(origin); leave != nil {
		return false, errors.Join(err, fmt.Errorf("leave the new network namespace: %w", leave))
	}
	return true, err
}

// deleteNamespace takes the name away. The namespace itself ends with the last
// process inside. A name that is not there is no error.
func deleteNamespace(path string) error {
	err := unix.Unmount(path, unix.MNT_DETACH)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("delete network namespace: %w", err)
	}
	return nil
}

// shareNetnsDir makes netnsDir a mount of its own, shared with other mount
// namespaces. `ip netns add` does it if necessary, by a recursive bind that
// would hide our mounts under a copy and make them impossible to undo.
func shareNetnsDir() error {
	if err := os.MkdirAll(netnsDir, 0o755); err != nil {
		return fmt.Errorf("directory of network namespaces: %w", err)
	}
	share := func() error { return unix.Mount("", netnsDir, "none", unix.MS_SHARED|unix.MS_REC, "") }
	err := share()
	if !errors.Is(err, unix.EINVAL) { // EINVAL: not a mount point yet
		return err
	}
	if err := unix.Mount(netnsDir, netnsDir, "none", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s: %w", netnsDir, err)
	}
	return share()
}

// releaseNetnsDir undoes shareNetnsDir when no namespace is left in it.
func releaseNetnsDir() error {
	entries, err := os.ReadDir(netnsDir)
	if errors.Is(err, os.ErrNotExist) || len(entries) > 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("directory of network namespaces: %w", err)
	}
	// EINVAL: not a mount point. EBUSY: another process has just added a namespace.
	err = unix.Unmount(netnsDir, 0)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("unmount %s: %w", netnsDir, err)
	}
	return nil
}

// Names lists the named network namespaces that start with prefix.
func Names(prefix string) ([]string, error) {
	entries, err := os.ReadDir(netnsDir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("list network namespaces: %w", err)
	}
	var names []string
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), prefix) {
			names = append(names, entry.Name())
		}
	}
	return names, nil
}
