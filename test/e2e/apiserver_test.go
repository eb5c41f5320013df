// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestApiserverGone stops the apiserver. The programmed rules must stay, also across
// a restart of the agent, and changes must arrive when the apiserver is back.
func TestApiserverGone(t *testing.T) {
	const node = "node-1"
	namespace := newNamespace(t)
	service := newEcho(t, namespace, 2)
	vip := service.Spec.ClusterIP
	wantKernel(t, node)
	open, err := dial(node, vip, echoPort)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()

	resume := freeze(t, "kube-apiserver")
	pid := killAgent(t, node)
	eventually(t, 30*time.Second, func() error {
		again, err := agentPID(node)
		if err != nil || again == pid {
			return errors.Join(err, fmt.Errorf("the killed agent was %d", pid))
		}
		status, err := agentStatus(node)
		if err == nil && status.Programmed == nil {
			err = errors.New("nothing is programmed from the checkpoint")
		}
		return err
	})
	if _, err := open.Say(); err != nil {
		t.Errorf("the open connection broke: %v", err)
	}
	if err := ask(node, vip, echoPort); err != nil {
		t.Errorf("a new connection without an apiserver: %v", err)
	}
	resume()

	scale(t.Context(), t, namespace, "echo", 4)
	eventually(t, time.Minute, func() error {
		d, _, err := desired(t.Context(), node)
		if err != nil {
			return err
		}
		for key, f := range d.Frontends {
			if key.Address.String() == vip && len(f.Internal.Endpoints) != 4 {
				return fmt.Errorf("%d endpoints, want 4", len(f.Internal.Endpoints))
			}
		}
		return nil
	})
	wantKernel(t, node)
	if _, err := open.Say(); err != nil {
		t.Errorf("the open connection broke: %v", err)
	}
}

// freeze stops a process of the control plane until the returned function is
// called, or the test ends.
func freeze(t *testing.T, name string) (resume func()) {
	t.Helper()
	pid, err := component(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	resume = func() {
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(resume)
	return resume
}

// component returns the process of a component of the control plane.
func component(name string) (pid int, err error) {
	state, err := config.ReadState()
	if err != nil {
		return 0, err
	}
	for _, c := range state.Components {
		if c.Name == name {
			return c.PID, nil
		}
	}
	return 0, fmt.Errorf("the lab has no %s", name)
}

// scale sets the replicas of a Deployment.
func scale(ctx context.Context, t *testing.T, namespace, name string, replicas int32) {
	t.Helper()
	deployment := &appsv1.Deployment{}
	deployment.Namespace, deployment.Name = namespace, name
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas))
	if err := api.Patch(ctx, deployment, patch); err != nil {
		t.Fatal(err)
	}
}
