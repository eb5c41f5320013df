// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package container

import (
	"errors"
	"fmt"
	"os/exec"
	"path"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// become gives the calling thread the container's identity. What the thread
// executes or forks next inherits it; the other threads of this process keep
// theirs, which is why raw system calls are used and not package syscall's,
// which change all threads.
//
// Only the bounding set is cut: an exec as root regains exactly what it leaves,
// and an exec as anyone else ends with nothing, as container runtimes do it.
func become(spec *Spec) error {
	for number := range unix.CAP_LAST_CAP + 1 {
		if spec.Capabilities.Has(number) {
			continue
		}
		// EINVAL: this kernel is older than the capability.
		err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(number), 0, 0, 0)
		if err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("drop capability %s: %w", capabilityNames[number], err)
		}
	}
	if err := setIDs(spec.User); err != nil {
		return err
	}
	if spec.NoNewPrivileges {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("set no_new_privs: %w", err)
		}
	}
	// The kernel clears the parent death signal when a thread changes its credentials.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("set the parent death signal: %w", err)
	}
	return nil
}

func setIDs(user User) error {
	var groups unsafe.Pointer
	if len(user.Groups) > 0 {
		groups = unsafe.Pointer(&user.Groups[0])
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(user.Groups)), uintptr(groups), 0); errno != 0 {
		return fmt.Errorf("set groups %v: %w", user.Groups, errno)
	}
	gid, uid := uintptr(user.GID), uintptr(user.UID)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, gid, gid, gid); errno != 0 {
		return fmt.Errorf("become group %d: %w", user.GID, errno)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); errno != 0 {
		return fmt.Errorf("become user %d: %w", user.UID, errno)
	}
	return nil
}

// lookPath finds the program in the PATH of env, with the eyes of the calling
// thread's root directory and identity.
func lookPath(program string, env []string) (string, error) {
	if program == "" {
		return "", errors.New("no command given")
	}
	if strings.Contains(program, "/") {
		return program, executable(program)
	}
	search := DefaultPath
	for _, variable := range env {
		if value, ok := strings.CutPrefix(variable, "PATH="); ok {
			search = value
		}
	}
	for dir := range strings.SplitSeq(search, ":") {
		if file := path.Join("/", dir, program); executable(file) == nil {
			return file, nil
		}
	}
	return "", fmt.Errorf("%q: %w", program, exec.ErrNotFound)
}

func executable(file string) error {
	if err := unix.Faccessat(unix.AT_FDCWD, file, unix.X_OK, unix.AT_EACCESS); err != nil {
		return fmt.Errorf("%q: %w", file, err)
	}
	var stat syscall.Stat_t
	if err := syscall.Stat(file, &stat); err != nil {
		return fmt.Errorf("%q: %w", file, err)
	}
	if stat.Mode&syscall.S_IFMT == syscall.S_IFDIR {
		return fmt.Errorf("%q: %w", file, syscall.EISDIR)
	}
	return nil
}

// DefaultPath is the PATH of a container whose image sets none.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
