// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/test/robustness/checker"
)

// inAgent runs a command in the mounts of a node's agent.
func inAgent(pid int, command ...string) error {
	out, err := exec.Command("nsenter", append([]string{"--target=" + strconv.Itoa(pid), "--mount"}, command...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%v: %w: %s", command, err, out)
	}
	return nil
}

// mounting changes the mount of an agent's checkpoint, and back. Its connections do not
// notice, and it follows changes.
func mounting(r *rand.Rand, change, back []string) (hit, error) {
	node := randomNode(r)
	h := hit{hold: between(r, 3*time.Second, 8*time.Second)}
	pid, err := agentPID(node)
	if err != nil {
		return h, err
	}
	h.heal = func() error {
		if now, err := agentPID(node); err != nil || now != pid {
			return nil // it has ended, and its mounts with it
		}
		return inAgent(pid, back...)
	}
	return h, inAgent(pid, change...)
}

const checkpointDir = "/var/lib/fairlead"

// fillDisk puts a full file system over the agent's checkpoint.
func fillDisk(_ *arena, r *rand.Rand) (hit, error) {
	return mounting(r, []string{"mount", "-t", "tmpfs", "-o", "size=4k,mode=0700", "nemesis", checkpointDir},
		[]string{"umount", "--lazy", checkpointDir})
}

// protectDisk makes the agent's checkpoint read-only.
func protectDisk(_ *arena, r *rand.Rand) (hit, error) {
	return mounting(r, []string{"mount", "-o", "remount,bind,ro", checkpointDir}, []string{"mount", "-o", "remount,bind,rw", checkpointDir})
}

// restoreEtcd copies etcd's data, changes the API, and brings the copy back: all that was
// changed is as before, with lower resource versions. As after every such restore, controllers
// are restarted, whose watches wait for the versions that are gone; agents are not.
func restoreEtcd(a *arena, r *rand.Rand) (hit, error) {
	h := hit{Strike: checker.Strike{Effect: checker.Blind}, over: a.slicesThere}
	data, copied := filepath.Join(config.Dir, "etcd"), filepath.Join(config.Dir, "etcd-copy")
	pid, err := component("etcd")
	if err != nil {
		return h, err
	}
	// A stopped process changes no file.
	err = errors.Join(syscall.Kill(pid, syscall.SIGSTOP), command("cp", "-a", data, copied), syscall.Kill(pid, syscall.SIGCONT))
	if err != nil {
		return h, err
	}
	h.heal = func() error {
		pid, err := component("etcd")
		if err != nil {
			return err
		}
		// The lab waits for a second before it starts etcd again.
		err = errors.Join(syscall.Kill(pid, syscall.SIGKILL), os.Rename(data, data+"-old"), os.Rename(copied, data), os.RemoveAll(data+"-old"))
		// What has cached the versions that are gone.
		for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
			pid, componentErr := component(name)
			if componentErr == nil {
				componentErr = syscall.Kill(pid, syscall.SIGKILL)
			}
			err = errors.Join(err, componentErr)
		}
		for _, node := range labNodes {
			if pid, noController := processOn(node, "fairlead-controller"); noController == nil {
				err = errors.Join(err, syscall.Kill(pid, syscall.SIGKILL))
			}
		}
		return err
	}
	for _, app := range []string{"b", "a", "b"}[:1+r.IntN(3)] {
		patch := fmt.Sprintf(`{"spec":{"selector":{"app":%q}}}`, app)
		if err := a.changes.patch(&corev1.Service{}, "switch", patch); err != nil {
			return h, err
		}
		time.Sleep(time.Second) // for the change to be followed, or not
	}
	return h, nil
}
