// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package container

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMain(m *testing.M) {
	MaybeInit()
	os.Exit(m.Run())
}

// harness runs containers of one test in a network namespace of its own.
type harness struct {
	*testing.T
	runtime *Runtime
	netns   string
}

func newHarness(t *testing.T) *harness {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("containers need root")
	}
	// A sleeping process is the simplest holder of a network namespace: it
	// leaves nothing behind.
	holder := exec.Command("sleep", "600")
	holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	h := &harness{T: t, runtime: NewRuntime(), netns: fmt.Sprintf("/proc/%d/ns/net", holder.Process.Pid)}
	t.Cleanup(func() {
		h.runtime.Close()
		_ = holder.Process.Kill()
		_ = holder.Wait()
	})
	return h
}

func (h *harness) spec(script string) Spec {
	defaults, err := Capabilities(nil, nil)
	if err != nil {
		h.Fatal(err)
	}
	return Spec{
		Hostname: "pod-1", NetNSPath: h.netns, Root: h.TempDir(), Capabilities: defaults,
		Args: []string{"sh", "-c", script}, Env: []string{"PATH=" + DefaultPath, "COLOUR=blue"},
	}
}

// start returns the process and its output, complete once the process is done.
func (h *harness) start(spec Spec) (*Process, func() string) {
	h.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		h.Fatal(err)
	}
	process, err := h.runtime.Start(spec, write, write)
	write.Close()
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() {
		if err := process.Signal(syscall.SIGKILL); err != nil {
			h.Error(err)
		}
		<-process.Done()
	})
	output := make(chan string, 1)
	go func() {
		data, _ := io.ReadAll(read)
		output <- string(data)
	}()
	return process, func() string { return <-output }
}

func (h *harness) wait(process *Process) Exit {
	h.Helper()
	select {
	case <-process.Done():
		return process.Exit()
	case <-time.After(30 * time.Second):
		h.Fatal("the container did not end")
		return Exit{}
	}
}

// run answers the exit code and the output of a script.
func (h *harness) run(spec Spec) (int, string) {
	h.Helper()
	process, output := h.start(spec)
	exit := h.wait(process)
	return exit.Code, strings.TrimSpace(output())
}

func TestContainerSees(t *testing.T) {
	h := newHarness(t)
	volume := t.TempDir()
	secret := filepath.Join(volume, "key")
	if err := os.WriteFile(secret, []byte("s3cret"), 0o644); err != nil {
		t.Fatal(err)
	}
	allowed, err := Capabilities([]string{"NET_ADMIN"}, []string{"ALL"})
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		change   func(*Spec)
		script   string
		wantCode int
		want     string
	}{
		"its hostname":        {script: "hostname", want: "pod-1"},
		"its environment":     {script: `echo "$COLOUR $HOME."`, want: "blue ."},
		"its exit code":       {script: "exit 7", wantCode: 7},
		"itself as process 1": {script: "echo $$", want: "1"},
		"only its processes":  {script: "ls -d /proc/[0-9]*", want: "/proc/1"},
		"only its network":    {script: "ls /sys/class/net", want: "lo"},
		"a minimal /dev":      {script: "ls /dev; echo x >/dev/null", want: "fd\nfull\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero"},
		"an empty /tmp":       {script: "ls -A /tmp"},
		"the host's files":    {script: "test -x /bin/sh && echo yes", want: "yes"},
		"a writable root":     {script: "echo data >/etc/new && cat /etc/new && test ! -e /.host", want: "data"},
		"a read-only root": {
			change: func(s *Spec) { s.ReadOnlyRoot = true },
			script: "touch /etc/new || touch /tmp/new || echo refused", want: "touch: cannot touch '/etc/new': Read-only file system\ntouch: cannot touch '/tmp/new': Read-only file system\nrefused",
		},
		"a volume over a read-only /tmp": {
			change: func(s *Spec) {
				s.ReadOnlyRoot = true
				s.Mounts = []Mount{{Source: t.TempDir(), Target: "/tmp"}}
			},
			script: "touch /tmp/new && echo written", want: "written",
		},
		"a volume through a link": {
			change: func(s *Spec) { s.Mounts = []Mount{{Source: volume, Target: "/var/run/secrets/x", ReadOnly: true}} },
			script: "cat /run/secrets/x/key; touch /run/secrets/x/y", wantCode: 1,
			want: "s3crettouch: cannot touch '/run/secrets/x/y': Read-only file system",
		},
		"a mounted file": {
			change: func(s *Spec) { s.Mounts = []Mount{{Source: secret, Target: "/etc/resolv.conf"}} },
			script: "cat /etc/resolv.conf", want: "s3cret",
		},
		"nothing that is hidden": {
			change: func(s *Spec) { s.Hidden = []string{"/etc/apt"} },
			script: "ls -A /etc/apt",
		},
		"its working directory": {
			change: func(s *Spec) { s.Dir = "/srv/made" },
			script: "pwd", want: "/srv/made",
		},
		"its user": {
			change: func(s *Spec) { s.User = User{UID: 65532, GID: 100, Groups: []uint32{7, 8}} },
			script: "id -u; id -g; id -G; echo >/dev/stderr", want: "65532\n100\n100 7 8",
		},
		"its capabilities": {
			change: func(s *Spec) { s.Capabilities = allowed },
			script: "grep -E 'Cap(Eff|Bnd)' /proc/self/status; ip link set lo up", want: "CapEff:\t0000000000001000\nCapBnd:\t0000000000001000",
		},
		"no capability as another user": {
			change: func(s *Spec) { s.Capabilities, s.User.UID = AllCapabilities, 1 },
			script: "grep CapEff /proc/self/status", want: "CapEff:\t0000000000000000",
		},
		"no new privileges": {
			change: func(s *Spec) { s.NoNewPrivileges = true },
			script: "grep NoNewPrivs /proc/self/status", want: "NoNewPrivs:\t1",
		},
		"kernel settings read-only": {script: "echo 1 >/proc/sys/net/ipv4/ip_forward", wantCode: 2, want: "sh: 1: cannot create /proc/sys/net/ipv4/ip_forward: Read-only file system"},
		"kernel settings when privileged": {
			change: func(s *Spec) { s.Privileged, s.Capabilities = true, AllCapabilities },
			script: "echo 1 >/proc/sys/net/ipv4/ip_forward && cat /proc/sys/net/ipv4/ip_forward", want: "1",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			inner := &harness{T: t, runtime: h.runtime, netns: h.netns}
			spec := inner.spec(tc.script)
			if tc.change != nil {
				tc.change(&spec)
			}
			code, output := inner.run(spec)
			if code != tc.wantCode {
				t.Errorf("exit code %d, want %d", code, tc.wantCode)
			}
			if diff := cmp.Diff(tc.want, output); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
		})
	}
}

func TestStartFails(t *testing.T) {
	h := newHarness(t)
	cases := map[string]struct {
		change func(*Spec)
		want   string
	}{
		"missing program": {func(s *Spec) { s.Args = []string{"no-such-program"} }, `cannot run the command: "no-such-program": executable file not found in $PATH`},
		"missing volume":  {func(s *Spec) { s.Mounts = []Mount{{Source: "/no/such", Target: "/x"}} }, "mount at /x: lstat /no: no such file or directory"},
		"missing network": {func(s *Spec) { s.NetNSPath = "/no/such" }, "open the network namespace: open /no/such: no such file or directory"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			spec := h.spec("true")
			tc.change(&spec)
			_, err := h.runtime.Start(spec, nil, nil)
			if err == nil || err.Error() != tc.want {
				t.Errorf("error %v, want %s", err, tc.want)
			}
		})
	}
}

func TestSignal(t *testing.T) {
	h := newHarness(t)
	cases := map[string]struct {
		script string
		signal syscall.Signal
		want   Exit
	}{
		"handled":   {"trap 'exit 3' TERM; echo up; while :; do sleep 0.05; done", syscall.SIGTERM, Exit{Code: 3}},
		"killed":    {"sleep 600 & echo up; wait", syscall.SIGKILL, Exit{Code: 137, Signal: 9}},
		"init dies": {"sleep 600 & echo up; exec sleep 600", syscall.SIGKILL, Exit{Code: 137, Signal: 9}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			inner := &harness{T: t, runtime: h.runtime, netns: h.netns}
			marker := t.TempDir()
			spec := inner.spec(strings.ReplaceAll(tc.script, "echo up", "touch /marker/up"))
			spec.Mounts = []Mount{{Source: marker, Target: "/marker"}}
			process, output := inner.start(spec)
			poll(t, func() bool { _, err := os.Stat(filepath.Join(marker, "up")); return err == nil })
			if err := process.Signal(tc.signal); err != nil {
				t.Fatal(err)
			}
			exit := inner.wait(process)
			output() // ends only when every process of the container has ended
			exit.At = time.Time{}
			if diff := cmp.Diff(tc.want, exit); diff != "" {
				t.Errorf("exit (-want +got):\n%s", diff)
			}
			if err := process.Signal(tc.signal); err != nil {
				t.Errorf("signal after the end: %v", err)
			}
		})
	}
}

// A lab that is killed must leave no process: the death of the forking thread
// stands for it.
func TestRuntimeDeathKills(t *testing.T) {
	h := newHarness(t)
	spec := h.spec("sleep 600")
	spec.User.UID = 12345 // a change of the user ID clears the parent death signal
	process, _ := h.start(spec)
	h.runtime.Close()
	if exit := h.wait(process); exit.Signal != 9 {
		t.Errorf("exit %+v, want killed", exit)
	}
	if _, err := h.runtime.Start(h.spec("true"), nil, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("start after close: %v", err)
	}
}

func TestExec(t *testing.T) {
	h := newHarness(t)
	spec := h.spec("sleep 600")
	spec.User = User{UID: 1000, GID: 1000}
	spec.Dir = "/srv"
	process, _ := h.start(spec)
	cases := map[string]struct {
		args               []string
		input              string
		terminal           bool
		wantCode           int
		wantOut, wantError string
	}{
		"inside":    {args: []string{"sh", "-c", "hostname; id -u; pwd; echo $COLOUR"}, wantOut: "pod-1\n1000\n/srv\nblue\n"},
		"input":     {args: []string{"cat"}, input: "hello", wantOut: "hello"},
		"exit code": {args: []string{"sh", "-c", "exit 42"}, wantCode: 42},
		"killed":    {args: []string{"sh", "-c", "kill -9 $$"}, wantCode: 137},
		"terminal":  {args: []string{"sh", "-c", "test -t 0 && stty size"}, terminal: true, wantOut: "24 80\r\n"},
		"missing":   {args: []string{"no-such"}, wantCode: 127, wantError: `cannot run the command: "no-such": executable file not found in $PATH`},
		"directory": {args: []string{"/etc"}, wantCode: 126, wantError: `cannot run the command: "/etc": is a directory`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			streams := Streams{In: strings.NewReader(tc.input), Out: &out, Err: io.Discard}
			if tc.terminal {
				sizes := make(chan TerminalSize, 1)
				sizes <- TerminalSize{Width: 80, Height: 24}
				close(sizes)
				streams.Resize = sizes
				tc.args = []string{"sh", "-c", "until stty size | grep -q 24; do sleep 0.05; done; " + tc.args[2]}
			}
			exit, err := process.Exec(t.Context(), tc.args, streams)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if exit.Code != tc.wantCode || out.String() != tc.wantOut || got != tc.wantError {
				t.Errorf("code %d, output %q, error %q; want %d, %q, %q", exit.Code, out.String(), got, tc.wantCode, tc.wantOut, tc.wantError)
			}
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		read, write := io.Pipe()
		go func() {
			// The first byte means that the command runs.
			_, _ = read.Read(make([]byte, 1))
			cancel()
			_, _ = io.Copy(io.Discard, read)
		}()
		_, err := process.Exec(ctx, []string{"sh", "-c", "echo up; sleep 600"}, Streams{Out: write})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want cancelled", err)
		}
	})
}

func TestExecAfterTheEnd(t *testing.T) {
	h := newHarness(t)
	process, _ := h.start(h.spec("true"))
	h.wait(process)
	if _, err := process.Exec(t.Context(), []string{"true"}, Streams{}); !errors.Is(err, ErrNotRunning) {
		t.Errorf("error %v, want %v", err, ErrNotRunning)
	}
}

func TestNoMountOnTheHost(t *testing.T) {
	h := newHarness(t)
	spec := h.spec("sleep 600")
	h.start(spec)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), spec.Root) {
		t.Errorf("the container's root is mounted on the host:\n%s", mounts)
	}
}

func poll(t *testing.T, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatal("not reached within 30 s")
		}
		time.Sleep(10 * time.Millisecond)
	}
}
