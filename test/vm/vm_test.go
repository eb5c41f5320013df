// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package vm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/test/vm"
)

var temporary string // a folder

// launcher is the program that hack/vm calls, which is also the guest's init.
var launcher = sync.OnceValues(func() (string, error) {
	program := filepath.Join(temporary, "vm")
	build := exec.Command("go", "build", "-o", program, "./cmd/vm")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return program, nil
})

func TestMain(m *testing.M) {
	var err error
	if temporary, err = os.MkdirTemp("", "fairlead-vm-test"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(temporary)
	os.Exit(code)
}

// mark is an environment variable of the processes of a test.
const mark = "FAIRLEAD_VM_TEST="

// command returns a call of the launcher whose processes have a mark.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	if os.Getenv("FAIRLEAD_VM_KERNEL") == "" || os.Geteuid() != 0 {
		t.Skip("needs root, and a kernel in $FAIRLEAD_VM_KERNEL: make test-vm")
	}
	program, err := launcher()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), mark+t.Name())
	t.Cleanup(func() { wantNothingLeft(t) })
	return cmd
}

// marked lists the processes of the test.
func marked(t *testing.T) (found []string) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		environment, err := os.ReadFile(file)
		if err == nil && bytes.Contains(environment, []byte(mark+t.Name()+"\x00")) {
			found = append(found, file)
		}
	}
	return found
}

func wantNothingLeft(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for left := marked(t); len(left) > 0; left = marked(t) {
		if time.Now().After(deadline) {
			t.Errorf("processes are left: %s", left)
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func status(t *testing.T, err error) int {
	t.Helper()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	t.Fatal(err)
	return 0
}

func TestCommand(t *testing.T) {
	t.Cleanup(func() {
		if err := os.Remove("/etc/fairlead-vm-test"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the VM has written to this machine's files: %v", err)
		}
	})
	for name, test := range map[string]struct {
		args       []string
		wantStatus int
		wantStdout string
		wantStderr []string // what it contains
	}{
		"success": {
			args: []string{"sh", "-c", `echo "$0 $FAIRLEAD_VM_TEST"; pwd; echo bad >&2`, "a  b"}, wantStdout: "a  b TestCommand/success\n" + folder(t) + "\n", wantStderr: []string{"bad\n"},
		},
		"failure":            {args: []string{"sh", "-c", "exit 3"}, wantStatus: 3},
		"killed by a signal": {args: []string{"sh", "-c", "kill -9 $$"}, wantStatus: 128 + 9},
		"no such program":    {args: []string{"no-such-program"}, wantStatus: 127, wantStderr: []string{"no-such-program"}},
		"what it leaves behind is not waited for": {
			args: []string{"sh", "-c", "sleep 1000 & echo done"}, wantStdout: "done\n",
		},
		"long output": {
			args: []string{"sh", "-c", "yes | head -c 1000000"}, wantStdout: strings.Repeat("y\n", 500000),
		},
		"every scheduler of IPVS": {
			args: []string{"sh", "-ec", "for s in rr wrr lc wlc lblc lblcr sh dh sed nq mh fo ovf; do modprobe ip_vs_$s; ipvsadm -A -f 1 -s $s; ipvsadm -C; done; ip link add kube-ipvs0 type dummy"},
		},
		"root is written to in memory": {
			args: []string{"sh", "-ec", "echo x >>/etc/hostname; mount -t virtiofs fairlead.root /mnt; mount -o remount,rw /mnt; ! touch /mnt/etc/fairlead-vm-test"},
		},
		"it does not end": {
			args: []string{"-timeout", "30s", "sh", "-c", "echo begun; sleep 1000"}, wantStatus: 124, wantStdout: "begun\n", wantStderr: []string{"30s"},
		},
		"the kernel panics": {
			args: []string{"sh", "-c", "echo begun; echo c >/proc/sysrq-trigger; sleep 1000"}, wantStatus: 125, wantStdout: "begun\n",
			wantStderr: []string{"has ended before the command did", "Kernel panic"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // several at once
			cmd := command(t, test.args...)
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			if got := status(t, cmd.Run()); got != test.wantStatus {
				t.Errorf("exit status %d, want %d; stderr: %s", got, test.wantStatus, &stderr)
			}
			if diff := cmp.Diff(test.wantStdout, stdout.String()); diff != "" {
				t.Errorf("stdout (-want +got):\n%s", diff)
			}
			for _, want := range test.wantStderr {
				if !strings.Contains(stderr.String(), want) {
					t.Errorf("stderr does not have %q: %s", want, &stderr)
				}
			}
		})
	}
}

func folder(t *testing.T) string {
	t.Helper()
	folder, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return folder
}

func TestOrderOfOutput(t *testing.T) {
	t.Parallel()
	out, err := command(t, "bash", "-c", "for i in {1..500}; do echo $i; echo $i >&2; done").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var want strings.Builder
	for i := 1; i <= 500; i++ {
		fmt.Fprintf(&want, "%d\n%d\n", i, i)
	}
	_, got, _ := strings.Cut(string(out), "\n") // after what says which kernel it is
	if diff := cmp.Diff(want.String(), got); diff != "" {
		t.Errorf("stdout and stderr (-want +got):\n%s", diff)
	}
}

// TestBootsAgain has a kernel that does not boot.
func TestBootsAgain(t *testing.T) {
	t.Parallel()
	cmd := command(t, "true")
	good, folder := os.Getenv("FAIRLEAD_VM_KERNEL"), t.TempDir()
	k, err := vm.OpenKernel(good)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(os.Symlink(filepath.Join(good, "lib"), filepath.Join(folder, "lib")), os.Mkdir(filepath.Join(folder, "boot"), 0o755),
		os.WriteFile(filepath.Join(folder, "boot", "vmlinuz-"+k.Release()), []byte("no kernel"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(cmd.Env, "FAIRLEAD_VM_KERNEL="+folder)
	out, err := cmd.CombinedOutput()
	if got := status(t, err); got != vm.Failed || strings.Count(string(out), "boot again") != 2 {
		t.Errorf("exit status %d, want %d, and two more tries:\n%s", got, vm.Failed, out)
	}
}

// TestEnd ends the launcher while the command runs: nothing of it may be left.
func TestEnd(t *testing.T) {
	for name, signal := range map[string]syscall.Signal{"interrupt": syscall.SIGINT, "kill": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := command(t, "sh", "-c", "echo begun; sleep 1000")
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if _, err := stdout.Read(make([]byte, 1)); err != nil {
				t.Fatalf("the command has not begun: %v", err)
			}
			if len(marked(t)) < 3 {
				t.Errorf("want three processes: %s", marked(t))
			}
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err == nil {
				t.Error("the launcher succeeded")
			}
		})
	}
}
