// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/test/lab/labtest"
	"github.com/fairlead-proxy/fairlead/test/robustness/checker"
)

// restoreEtcd copies etcd's data, changes the API, and brings the copy back: all that was
// changed is as before, with lower resource versions. As after every such restore, what
// watches the API is restarted: a watch waits for the versions that are gone.
func restoreEtcd(a *arena, r *rand.Rand) (hit, error) {
	h := hit{Strike: checker.Strike{Effect: checker.Blind}, over: a.slicesThere}
	data, copied := filepath.Join(config.Dir, "etcd"), filepath.Join(config.Dir, "etcd-copy")
	pid, err := component("etcd")
	if err != nil {
		return h, err
	}
	// A stopped process changes no file.
	err = errors.Join(syscall.Kill(pid, syscall.SIGSTOP), labtest.Command("cp", "-a", data, copied), syscall.Kill(pid, syscall.SIGCONT))
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
			for _, program := range []string{"fairlead-controller", "fairlead-agent"} {
				if pid, notThere := processOn(node, program); notThere == nil {
					err = errors.Join(err, syscall.Kill(pid, syscall.SIGKILL))
				}
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
