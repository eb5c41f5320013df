// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/fairlead-proxy/fairlead/test/lab/network"
)

// patience bounds every wait of these tests.
const patience = time.Minute

func testConfig(t *testing.T) Config {
	t.Helper()
	config := Config{
		Dir: filepath.Join(t.TempDir(), "lab"), Prefix: fmt.Sprintf("flt%d-", os.Getpid()), Nodes: 1,
		AssetsDir: t.TempDir(),
	}
	if err := config.makeDirs(); err != nil {
		t.Fatal(err)
	}
	return config
}

// buildNetwork makes a small network and sweeps it in the end.
func buildNetwork(t *testing.T, config Config) *network.Topology {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to make network namespaces")
	}
	t.Cleanup(func() {
		if err := Sweep(config); err != nil {
			t.Errorf("sweep: %v", err)
		}
	})
	topology := config.Topology()
	if err := topology.Build(); err != nil {
		t.Fatal(err)
	}
	return topology
}

func eventually(t *testing.T, check func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := poll(ctx, 5*time.Millisecond, check); err != nil {
		t.Fatal(err)
	}
}

func gone(pid int) error {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err == nil && len(stat) > 0 { // a zombie has no command line
		return fmt.Errorf("process %d still runs: %q", pid, stat)
	}
	return nil
}

func TestStateRoundTrip(t *testing.T) {
	config := testConfig(t)
	want := State{Config: config, PID: 7, Ready: true, Components: []ComponentState{{Name: "etcd", PID: 8, Restarts: 1}}}
	if err := config.WriteState(want); err != nil {
		t.Fatal(err)
	}
	got, err := config.ReadState()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
}

func TestLockHasOneHolder(t *testing.T) {
	config := testConfig(t)
	lock, err := TryLock(config)
	if err != nil {
		t.Fatal(err)
	}
	var held *HeldError
	if _, err := TryLock(config); !errors.As(err, &held) || held.PID != os.Getpid() {
		t.Fatalf("second lock: %v, want it held by %d", err, os.Getpid())
	}
	// A child that inherits the file keeps the lock until it ends.
	child := exec.Command("sleep", "1000")
	child.ExtraFiles = []*os.File{lock.File}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Process.Kill() }()
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
	if pid, err := Holder(config); err != nil || pid == 0 {
		t.Errorf("holder %d, %v, want the child's lock to count", pid, err)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	if pid, err := Holder(config); err != nil || pid != 0 {
		t.Errorf("holder %d, %v, want none", pid, err)
	}
}

func TestLockOfARemovedDirectory(t *testing.T) {
	config := testConfig(t)
	old, err := TryLock(config)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Release()
	if err := Remove(config); err != nil {
		t.Fatal(err)
	}
	lock, err := TryLock(config)
	if err != nil {
		t.Fatalf("lock after removal: %v", err)
	}
	if err := lock.Release(); err != nil {
		t.Error(err)
	}
	if pid, err := Holder(Config{Dir: config.Dir + "-none"}); pid != 0 || err != nil {
		t.Errorf("holder of a lab that never was: %d, %v", pid, err)
	}
}

func TestClearKeepsTheLock(t *testing.T) {
	config := testConfig(t)
	lock, err := TryLock(config)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Release()
	if err := os.WriteFile(config.Kubeconfig(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Clear(config); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(config.Kubeconfig()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("old kubeconfig: %v, want it gone", err)
	}
	var held *HeldError
	if _, err := TryLock(config); !errors.As(err, &held) {
		t.Errorf("lock after Clear: %v, want it held", err)
	}
}

func TestSweepRemovesEverything(t *testing.T) {
	config := testConfig(t)
	topology := buildNetwork(t, config)
	child := exec.Command("sleep", "1000")
	if err := network.Do(topology.Nodes[0].NetNSPath, child.Start); err != nil {
		t.Fatal(err)
	}
	waited := make(chan error, 1)
	go func() { waited <- child.Wait() }()
	mount := filepath.Join(config.Dir, "volume")
	if err := os.Mkdir(mount, 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 { // one on top of the other
		if err := unix.Mount("tmpfs", mount, "tmpfs", 0, "size=4k"); err != nil {
			t.Fatal(err)
		}
	}
	if err := Sweep(config); err != nil {
		t.Fatal(err)
	}
	<-waited
	if mounts, err := mountsBelow(config.Dir); err != nil || len(mounts) > 0 {
		t.Errorf("mounts left: %v, %v", mounts, err)
	}
	if names, err := network.Names(config.Prefix); err != nil || len(names) > 0 {
		t.Errorf("namespaces left: %v, %v", names, err)
	}
	if err := Sweep(config); err != nil {
		t.Errorf("sweep with nothing to do: %v", err)
	}
}

// TestSweepSparesVisitors: a process that has a thread in the lab's network for
// a moment, even its first one, is not of the lab.
func TestSweepSparesVisitors(t *testing.T) {
	config := testConfig(t)
	topology := buildNetwork(t, config)
	id, ok := fileID(topology.Client.NetNSPath)
	if !ok {
		t.Fatal("no namespace")
	}
	err := network.Do(topology.Client.NetNSPath, func() error {
		if allThreadsIn(os.Getpid(), map[unix.Stat_t]bool{id: true}) {
			return errors.New("this process counts as one of the lab")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// startSleeper runs a component that only sleeps, under the name of etcd.
func startSleeper(ctx context.Context, t *testing.T, script string, giveUp bool) (*controlPlane, context.Context) {
	t.Helper()
	config := testConfig(t)
	topology := buildNetwork(t, config)
	script = "#!/bin/sh\n" + script + "\n"
	if err := os.WriteFile(filepath.Join(config.AssetsDir, "etcd"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	life, fail := context.WithCancelCause(ctx)
	control := &controlPlane{
		config: config, netnsPath: topology.Control.NetNSPath, launcher: newLauncher(),
		fail: fail, changed: func([]ComponentState) error { return nil },
	}
	control.start(ctx, component{name: "etcd"}, func() bool { return giveUp })
	return control, life
}

func TestComponentIsRestarted(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	control, _ := startSleeper(ctx, t, "exec sleep 1000", false)
	var first int
	eventually(t, func() error {
		if first = control.snapshot()[0].PID; first == 0 {
			return errors.New("not started")
		}
		return nil
	})
	if err := unix.Kill(first, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if state := control.snapshot()[0]; state.PID == first || state.Restarts != 1 {
			return fmt.Errorf("not restarted: %+v", state)
		}
		return nil
	})
	second := control.snapshot()[0].PID
	cancel()
	control.running.Wait()
	if err := gone(second); err != nil {
		t.Error(err)
	}
}

func TestComponentThatFailsAtOnceEndsTheLab(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	_, life := startSleeper(ctx, t, "echo nonsense; exit 3", true)
	select {
	case <-life.Done():
	case <-time.After(patience):
		t.Fatal("the lab goes on")
	}
	if err := context.Cause(life); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("cause %v, want the component's exit status", err)
	}
}

func TestComponentsDieWithTheirLauncher(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	control, _ := startSleeper(ctx, t, "exec sleep 1000", true)
	var pid int
	eventually(t, func() error {
		if pid = control.snapshot()[0].PID; pid == 0 {
			return errors.New("not started")
		}
		return nil
	})
	control.launcher.close() // as when the supervisor is killed
	eventually(t, func() error { return gone(pid) })
}

func TestCredentials(t *testing.T) {
	config := testConfig(t)
	control := config.Topology().Control
	credentials, err := writeCredentials(config, control)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		config.InsideKubeconfig(),
		config.componentKubeconfig("kube-scheduler"), config.componentKubeconfig("kube-controller-manager"),
	} {
		rest, err := clientcmd.BuildConfigFromFlags("", path)
		if err != nil {
			t.Fatal(err)
		}
		if rest.Host != "https://10.89.0.10:6443" || string(rest.CAData) != string(credentials.authority.Cert) {
			t.Errorf("%s: server %s, or another authority", path, rest.Host)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v, want 600", path, info.Mode(), err)
		}
	}
}
