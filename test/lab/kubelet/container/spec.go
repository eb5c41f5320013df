// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package container runs a program of the host the way a container runtime
// runs an image: in namespaces of its own (mount, PID, UTS, IPC), in a given
// network namespace, on a copy-on-write view of the host's files, with the
// capabilities and the user that a Pod specifies.
//
// There is no image and no daemon. The running binary re-executes itself as the
// container's first process, builds the namespaces from the inside and then
// becomes the program; so every binary that starts containers calls [MaybeInit]
// at the top of main. All mounts live in the container's private mount
// namespace: when its first process is gone, the kernel removes every process
// and every mount of it, whichever process was killed.
//
// Not done, because the lab does not need it: cgroup limits, seccomp profiles,
// user namespaces, mount propagation.
package container

// Spec is a program and its environment.
type Spec struct {
	// Hostname is the name that the container sees as its own.
	Hostname string
	// NetNSPath is the file that holds the network namespace to join.
	NetNSPath string
	// Root is an empty directory of the host to mount the container's root on.
	// The mount is invisible to the host; the directory stays empty there.
	Root string
	// Mounts are files and directories of the host to show in the container.
	Mounts []Mount
	// Hidden are directories of the host that the container must not see, such
	// as the state folder that holds the secrets of all Pods.
	Hidden []string
	// Args is the program and its arguments. A program without a slash is looked
	// up in the PATH of Env, inside the container.
	Args []string
	// Env is the complete environment, as NAME=value.
	Env []string
	// Dir is the working directory; it is made when it is missing.
	Dir string
	// User is the user of the program.
	User User
	// Capabilities is the bounding set: what root in the container may do.
	Capabilities CapabilitySet
	// Privileged opens /proc/sys and /sys for writing and adds the host's devices.
	Privileged bool
	// NoNewPrivileges keeps set-user-ID programs from gaining anything.
	NoNewPrivileges bool
	// ReadOnlyRoot makes everything but the mounts read-only.
	ReadOnlyRoot bool
}

// Mount shows the host's file or directory Source at Target in the container.
type Mount struct {
	Source, Target string
	ReadOnly       bool
}

// User is the identity of a process.
type User struct {
	UID, GID uint32
	// Groups are the supplementary groups.
	Groups []uint32
}
