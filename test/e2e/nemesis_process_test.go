// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/test/robustness/checker"
)

// killAnAgent kills one, sometimes again while it starts.
func killAnAgent(_ *arena, r *rand.Rand) (hit, error) {
	h := hit{Strike: checker.Strike{Node: randomNode(r), Effect: checker.Blind}}
	pid, err := agentPID(h.Node)
	if err != nil {
		return h, err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return h, err
	}
	again := r.IntN(2) == 0
	h.hold = between(r, 0, 2*time.Second)
	h.heal = func() error {
		if next, err := agentPID(h.Node); again && err == nil {
			_ = syscall.Kill(next, syscall.SIGKILL) // it may have ended
		}
		return nil
	}
	return h, nil
}

// renewDeadline is after which time a leader that could not renew its Lease ends.
const renewDeadline = 10 * time.Second

// leader returns the node of the leading controller, and its process. It is an error if none
// leads, although a Lease may name one.
func leader() (node string, pid int, identity string, err error) {
	ctx, cancel := shortly()
	defer cancel()
	var lease coordinationv1.Lease
	err = api.Get(ctx, client.ObjectKey{Namespace: "fairlead-system", Name: "fairlead-controller.proxy.fairlead.dev"}, &lease)
	if err != nil {
		return "", 0, "", err
	}
	identity = ptr.Deref(lease.Spec.HolderIdentity, "")
	if renewed := ptr.Deref(lease.Spec.RenewTime, metav1.MicroTime{}); time.Since(renewed.Time) > renewDeadline {
		return "", 0, "", fmt.Errorf("no controller leads: %q has renewed its Lease at %s", identity, renewed)
	}
	for _, n := range labNodes {
		if len(identity) > len(n) && identity[:len(n)+1] == n+"_" {
			pid, err = processOn(n, "fairlead-controller")
			return n, pid, identity, err
		}
	}
	return "", 0, "", fmt.Errorf("no node of the leader %q", identity)
}

// killLeader kills the leading controller. Another one leads when the Lease has expired.
func killLeader(*arena, *rand.Rand) (hit, error) {
	h := hit{Strike: checker.Strike{Effect: checker.Blind}}
	_, pid, old, err := leader()
	if err != nil {
		return h, err
	}
	h.over = func() error {
		_, _, now, err := leader()
		if err == nil && now == old {
			err = errors.New("no other controller leads")
		}
		return errors.Join(err, followed(""))
	}
	return h, syscall.Kill(pid, syscall.SIGKILL)
}

// stopAgent stops an agent for a while: it does not notice that itself.
func stopAgent(_ *arena, r *rand.Rand) (hit, error) {
	h := hit{Strike: checker.Strike{Node: randomNode(r), Effect: checker.Blind}, hold: between(r, 3*time.Second, 10*time.Second)}
	pid, err := agentPID(h.Node)
	if err != nil {
		return h, err
	}
	h.heal = func() error { return syscall.Kill(pid, syscall.SIGCONT) }
	return h, syscall.Kill(pid, syscall.SIGSTOP)
}

// stopLeader stops the leading controller for longer than its Lease lasts: another one leads
// then, and this one must not write any more when it goes on.
func stopLeader(_ *arena, r *rand.Rand) (hit, error) {
	h := hit{Strike: checker.Strike{Effect: checker.Blind}, hold: between(r, 18*time.Second, 22*time.Second)}
	_, pid, _, err := leader()
	if err != nil {
		return h, err
	}
	h.heal = func() error { return syscall.Kill(pid, syscall.SIGCONT) }
	return h, syscall.Kill(pid, syscall.SIGSTOP)
}

// killComponent kills a component of the control plane, which the lab starts again.
func killComponent(name string) func(*arena, *rand.Rand) (hit, error) {
	return func(*arena, *rand.Rand) (hit, error) {
		h := hit{Strike: checker.Strike{Effect: checker.Blind}}
		pid, err := component(name)
		if err != nil {
			return h, err
		}
		return h, syscall.Kill(pid, syscall.SIGKILL)
	}
}

// stopComponent stops a component for a while, in which clients wait for answers.
func stopComponent(name string) func(*arena, *rand.Rand) (hit, error) {
	return func(_ *arena, r *rand.Rand) (hit, error) {
		h := hit{Strike: checker.Strike{Effect: checker.Blind}, hold: between(r, 3*time.Second, 8*time.Second)}
		pid, err := component(name)
		if err != nil {
			return h, err
		}
		h.heal = func() error { return syscall.Kill(pid, syscall.SIGCONT) }
		return h, syscall.Kill(pid, syscall.SIGSTOP)
	}
}

// partition lets no packet pass between a node and the control plane.
func partition(_ *arena, r *rand.Rand) (hit, error) {
	h := hit{Strike: checker.Strike{Node: randomNode(r), Effect: checker.Blind}, hold: between(r, 2*time.Second, 8*time.Second)}
	node := h.Node
	h.heal = func() error { return rejoin(node) }
	if leading, _, _, err := leader(); err != nil || leading == node {
		h.Node = "" // nothing is compiled until another controller leads
	}
	return h, isolate(node)
}

// isolate lets no packet pass between a node and the control plane, until rejoin.
func isolate(node string) error {
	control := config.Topology().Control
	rules := "table inet nemesis {\n"
	for hook, side := range map[string]string{"input": "saddr", "output": "daddr", "forward": "daddr"} {
		rules += fmt.Sprintf("chain %s { type filter hook %s priority 0; ip %s %s drop; ip6 %s %s drop; }\n",
			hook, hook, side, control.IPv4, side, control.IPv6)
	}
	_, err := inNode(node, "sh", "-c", "echo '"+rules+"}' | nft -f -")
	return err
}

// rejoin also succeeds if the node is not isolated.
func rejoin(node string) error {
	_, err := inNode(node, "nft", "add table inet nemesis; delete table inet nemesis")
	return err
}
