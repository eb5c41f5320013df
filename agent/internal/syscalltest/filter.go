// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package syscalltest

import (
	"fmt"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// numberOffset is that of the system call's number in struct seccomp_data, in bytes.
const numberOffset = 0

// The structures of linux/seccomp.h.
type (
	notification struct {
		ID    uint64
		PID   uint32
		Flags uint32
		Call  struct {
			Number  int32
			Arch    uint32
			Address uint64
			Args    [6]uint64
		}
	}
	response struct {
		ID    uint64
		Value int64
		Error int32
		Flags uint32
	}
)

// install has the kernel ask for each system call that can fail, of this thread and of
// the programs that it starts. It returns the file descriptor that the questions come
// from. A filter stays until its thread ends.
func install() (listener int, err error) {
	program := []bpf.Instruction{bpf.LoadAbsolute{Off: numberOffset, Size: 4}}
	for number := range failures {
		program = append(program,
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(number), SkipTrue: 1},
			bpf.RetConstant{Val: unix.SECCOMP_RET_USER_NOTIF})
	}
	raw, err := bpf.Assemble(append(program, bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}))
	if err != nil {
		return 0, fmt.Errorf("assemble a filter of system calls: %w", err)
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	fprog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_NEW_LISTENER|unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, uintptr(unsafe.Pointer(&fprog)))
	if errno != 0 {
		return 0, fmt.Errorf("filter system calls: %w", errno)
	}
	return int(fd), nil
}

// ask waits for the next system call; false: the thread and its programs have ended.
func ask(listener int) (n notification, ok bool, err error) {
	for {
		poll := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}
		if _, err := unix.Poll(poll, -1); err != nil && err != unix.EINTR {
			return n, false, fmt.Errorf("poll for system calls: %w", err)
		}
		switch {
		case poll[0].Revents&unix.POLLIN != 0:
			n = notification{}
			_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&n)))
			switch errno {
			case 0:
				return n, true, nil
			case unix.ENOENT, unix.EINTR: // a signal has ended the call
			default:
				return n, false, fmt.Errorf("receive a system call: %w", errno)
			}
		case poll[0].Revents&unix.POLLHUP != 0:
			return n, false, nil
		}
	}
}

// answer has a system call fail, or with 0 the kernel run it. It returns false if a signal
// has ended the call, which is then repeated.
func answer(listener int, n *notification, errno unix.Errno) (bool, error) {
	r := response{ID: n.ID, Error: -int32(errno)}
	if errno == 0 {
		r.Flags = unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE
	}
	_, _, failed := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&r)))
	switch failed {
	case 0:
		return true, nil
	case unix.ENOENT:
		return false, nil
	}
	return false, fmt.Errorf("answer a system call: %w", failed)
}
