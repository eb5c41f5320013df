// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/test/robustness/checker"
)

// flush damages a node's rules again and again, as an administrator's script would. New
// connections may fail until the repair; open ones go on.
func flush(a *arena, r *rand.Rand) (hit, error) {
	h := hit{Strike: checker.Strike{Node: randomNode(r), Effect: checker.Broken},
		// A read-back waits for four times what the last one took.
		hold: between(r, time.Second, 3*time.Second), patience: 30 * time.Second}
	commands := []string{
		"delete table ip fairlead", "delete table ip6 fairlead", "flush table ip fairlead", "flush table ip6 fairlead",
		"flush chain ip fairlead frontends", "insert rule ip fairlead frontends drop",
	}
	ctx, cancel := context.WithCancel(context.Background())
	var flushing sync.WaitGroup
	pause := between(r, 20*time.Millisecond, 300*time.Millisecond)
	flushing.Go(func() {
		for ctx.Err() == nil {
			// An error: the table is gone already.
			_, _ = inNode(h.Node, append([]string{"nft"}, strings.Fields(commands[r.IntN(len(commands))])...)...)
			time.Sleep(pause) // between two, not a state to wait for
		}
	})
	h.heal = func() error { cancel(); flushing.Wait(); return nil }
	h.over = func() error {
		var all corev1.Service
		ctx, cancel := shortly()
		defer cancel()
		if err := api.Get(ctx, client.ObjectKey{Namespace: a.namespace, Name: "all"}, &all); err != nil {
			return err
		}
		var errs []error
		for _, address := range all.Spec.ClusterIPs {
			errs = append(errs, ask(h.Node, address, echoPort))
		}
		return errors.Join(errs...)
	}
	return h, nil
}

// patchMode changes the policy.
func patchMode(mode v1alpha1.ProxyMode) error {
	ctx, cancel := shortly()
	defer cancel()
	pc := &v1alpha1.ProxyConfig{}
	pc.Name = "default"
	return api.Patch(ctx, pc, client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"mode":%q}}`, mode)))
}

// inMode returns an error unless all nodes are in a mode and follow the API.
func inMode(mode v1alpha1.ProxyMode) error {
	for _, node := range labNodes {
		status, err := agentStatus(node)
		if err == nil && status.Mode != mode {
			err = fmt.Errorf("%s is in mode %s, want %s", node, status.Mode, mode)
		}
		if err != nil {
			return err
		}
	}
	return followed("")
}

// modeFlipped is over when all nodes have changed to IPTables and back.
func modeFlipped() func() error {
	changed := false
	return func() error {
		if !changed {
			err := inMode(v1alpha1.ModeIPTables)
			if err == nil {
				err = patchMode(v1alpha1.ModeNFTables)
			}
			if err != nil {
				return err
			}
			changed = true
		}
		return inMode(v1alpha1.ModeNFTables)
	}
}

// flipMode changes the mode of all nodes and, before or after they have followed, changes it
// back. No connection notices.
func flipMode(_ *arena, r *rand.Rand) (hit, error) {
	h := hit{hold: between(r, 0, 2*time.Second), over: modeFlipped()}
	if r.IntN(3) == 0 {
		h.over = func() error {
			return errors.Join(patchMode(v1alpha1.ModeNFTables), inMode(v1alpha1.ModeNFTables))
		}
	}
	return h, patchMode(v1alpha1.ModeIPTables)
}

// lockXtables holds the lock of iptables on a node while the mode changes to IPTables: the old
// mode serves on.
func lockXtables(_ *arena, r *rand.Rand) (hit, error) {
	node := randomNode(r)
	h := hit{hold: between(r, 2*time.Second, 6*time.Second), over: modeFlipped()}
	pid, err := agentPID(node)
	if err != nil {
		return h, err
	}
	lock, err := os.OpenFile(fmt.Sprintf("/proc/%d/root/run/xtables.lock", pid), os.O_RDWR, 0)
	if err != nil {
		return h, err
	}
	h.heal = lock.Close
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return h, err
	}
	return h, patchMode(v1alpha1.ModeIPTables)
}
