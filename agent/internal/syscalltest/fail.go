// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package syscalltest makes system calls fail, one by one, as a kernel does that has no
// memory, no descriptors or no permission: of a thread and of the programs that it starts.
// It needs root, as the tests do that use it.
//
// The kernel asks before each call (seccomp_unotify(2)), so the code under test is the one
// that runs on nodes, down to the libraries and programs that it uses.
package syscalltest

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// failure is how a system call may fail.
type failure struct {
	name   string
	errnos []unix.Errno
	// ofPrograms says whether it fails also in the programs that are started. Others
	// fail there only in ways that end the program at its start.
	ofPrograms bool
}

// failures are the calls that fail, and how (their man pages).
var failures = map[int]failure{
	unix.SYS_SOCKET:     {"socket", []unix.Errno{unix.EMFILE, unix.ENOBUFS}, true},
	unix.SYS_BIND:       {"bind", []unix.Errno{unix.EADDRINUSE, unix.ENOMEM}, false},
	unix.SYS_LISTEN:     {"listen", []unix.Errno{unix.EADDRINUSE}, false},
	unix.SYS_SENDTO:     {"sendto", []unix.Errno{unix.ENOBUFS, unix.EPERM}, true},
	unix.SYS_SENDMSG:    {"sendmsg", []unix.Errno{unix.ENOBUFS, unix.EPERM}, true},
	unix.SYS_RECVFROM:   {"recvfrom", []unix.Errno{unix.ENOBUFS, unix.ENOMEM}, true},
	unix.SYS_RECVMSG:    {"recvmsg", []unix.Errno{unix.ENOBUFS, unix.ENOMEM}, true},
	unix.SYS_SETSOCKOPT: {"setsockopt", []unix.Errno{unix.ENOMEM, unix.EPERM}, true},
	unix.SYS_OPENAT:     {"openat", []unix.Errno{unix.EMFILE, unix.EACCES}, false},
	unix.SYS_READ:       {"read", []unix.Errno{unix.EIO}, false},
	unix.SYS_WRITE:      {"write", []unix.Errno{unix.EIO, unix.ENOSPC}, false},
	unix.SYS_FSYNC:      {"fsync", []unix.Errno{unix.EIO}, false},
	unix.SYS_RENAMEAT:   {"renameat", []unix.Errno{unix.ENOSPC, unix.EIO}, false},
	unix.SYS_UNLINKAT:   {"unlinkat", []unix.Errno{unix.EIO}, false},
	unix.SYS_MKDIRAT:    {"mkdirat", []unix.Errno{unix.ENOSPC, unix.EACCES}, false},
	unix.SYS_CLONE:      {"clone", []unix.Errno{unix.EAGAIN, unix.ENOMEM}, false},
	unix.SYS_EXECVE:     {"execve", []unix.Errno{unix.EAGAIN, unix.ENOMEM}, true},
}

// Fault is one system call that fails: the Call-th of a run, with an error.
type Fault struct {
	Call  int // from 1; 0: none
	Errno unix.Errno
}

// Call is a system call of a run.
type Call struct {
	Name      string
	OfProgram bool // which the code under test has started
}

// Run calls f on a thread of its own, and has one system call fail. It returns all
// calls that were made and that can fail, in order.
//
// Garbage collection is off until Run returns: it stops all threads, but not a thread that
// starts a program before Run has answered, which is stopped by then.
func Run(t *testing.T, fault Fault, f func()) (calls []Call) {
	t.Helper()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(max(2, runtime.GOMAXPROCS(0))))
	type thread struct {
		listener, id int
		err          error
	}
	started, done := make(chan thread), make(chan struct{})
	onThread(func() {
		defer close(done)
		listener, err := install()
		started <- thread{listener, unix.Gettid(), err}
		if err == nil {
			f()
		}
	})
	th := <-started
	if th.err != nil {
		t.Fatal(th.err)
	}
	defer unix.Close(th.listener)
	for {
		n, ok, err := ask(th.listener)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			<-done
			return calls
		}
		errno := unix.Errno(0)
		counts := counts(th.id, &n)
		if counts && len(calls)+1 == fault.Call {
			errno = fault.Errno
		}
		if ok, err := answer(th.listener, &n, errno); err != nil {
			t.Error(err)
		} else if ok && counts {
			calls = append(calls, Call{failures[int(n.Call.Number)].name, int(n.PID) != th.id})
		}
	}
}

// onThread starts f on a thread that ends with it, and its filter with it. The first thread
// of a process never ends.
func onThread(f func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			f()
			return
		}
		defer runtime.UnlockOSThread()
		done := make(chan struct{})
		onThread(func() {
			defer close(done)
			f()
		})
		<-done
	}()
}

// counts says whether a system call is one that may fail: the runtime of Go cannot go on
// without some, and go test has a log of its own.
func counts(thread int, n *notification) bool {
	if int(n.PID) != thread {
		return failures[int(n.Call.Number)].ofPrograms
	}
	if n.Call.Number != unix.SYS_READ && n.Call.Number != unix.SYS_WRITE {
		return true
	}
	file, err := os.Readlink(fmt.Sprintf("/proc/self/task/%d/fd/%d", thread, n.Call.Args[0]))
	return err == nil && strings.HasPrefix(file, "/") && !strings.HasPrefix(file, "/dev/") && filepath.Base(file) != "testlog.txt"
}

// Faults returns every fault of some calls, which Run has returned: each call with each of
// its errors.
func Faults(calls []Call) (out []Fault) {
	errnos := map[string][]unix.Errno{}
	for _, f := range failures {
		errnos[f.name] = f.errnos
	}
	for i, c := range calls {
		for _, errno := range errnos[c.Name] {
			out = append(out, Fault{i + 1, errno})
		}
	}
	return out
}
