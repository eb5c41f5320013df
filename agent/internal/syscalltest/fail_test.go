// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package syscalltest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestRun(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	file := filepath.Join(t.TempDir(), "file")
	var err error
	write := func() { err = os.WriteFile(file, []byte("x"), 0o600) }
	program := func() { err = exec.Command("true").Run() }
	started := []string{"openat", "openat", "openat", "clone", "program: execve"} // with /dev/null for its input and output
	if err := exec.Command("true").Run(); err != nil {                            // the first one tries more of the kernel
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		do    func()
		fault Fault
		want  error
		calls []string
	}{
		"none fails":             {write, Fault{}, nil, []string{"openat", "write"}},
		"the first":              {write, Fault{1, unix.EMFILE}, unix.EMFILE, []string{"openat"}},
		"the second":             {write, Fault{2, unix.ENOSPC}, unix.ENOSPC, []string{"openat", "write"}},
		"more than there are":    {write, Fault{3, unix.ENOSPC}, nil, []string{"openat", "write"}},
		"a program":              {program, Fault{}, nil, started},
		"a program cannot start": {program, Fault{5, unix.ENOMEM}, unix.ENOMEM, started},
	} {
		t.Run(name, func(t *testing.T) {
			err = errors.New("not called")
			var calls []string
			for _, c := range Run(t, tc.fault, tc.do) {
				if c.OfProgram {
					c.Name = "program: " + c.Name
				}
				calls = append(calls, c.Name)
			}
			if !errors.Is(err, tc.want) {
				t.Errorf("got error %v, want %v", err, tc.want)
			}
			if diff := cmp.Diff(tc.calls, calls); diff != "" {
				t.Error(diff)
			}
			write() // on another thread
			if err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

func TestFaults(t *testing.T) {
	want := []Fault{{1, unix.EADDRINUSE}, {2, unix.EIO}, {2, unix.ENOSPC}}
	if diff := cmp.Diff(want, Faults([]Call{{Name: "listen"}, {Name: "write", OfProgram: true}})); diff != "" {
		t.Error(diff)
	}
}
