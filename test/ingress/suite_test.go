// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

// Package ingress has the test of an ingress controller behind a Service: its manifests are those of docs/ingress.md.
package ingress

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/test/lab"
	"github.com/fairlead-proxy/fairlead/test/lab/labtest"
)

// patience is how long the cluster may take until it shows a change.
const patience = 4 * time.Minute

var (
	config = lab.Default()
	api    client.Client
)

func TestMain(m *testing.M) {
	labtest.Main("ingress", func() (int, error) { return run(m) })
}

// run runs the tests on a lab that is running, or on one that it starts and stops.
func run(m *testing.M) (code int, err error) {
	started, stop, err := labtest.Start(config)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	api = started
	if err := labtest.Install(); err != nil {
		return 0, err
	}
	for _, args := range [][]string{
		{"label", "node", "node-1", "node-2", "ingress=true", "--overwrite"},
		{"apply", "-f", "manifests"},
		{"patch", "service/traefik", "--namespace=ingress", "--subresource=status", "--type=merge", "--patch", balancer.status()},
		{"rollout", "status", "deployment/shop", "--namespace=sites", "--timeout=4m"},
		{"rollout", "status", "deployment/blog", "--namespace=sites", "--timeout=4m"},
		{"rollout", "status", "deployment/traefik", "--namespace=ingress", "--timeout=4m"},
	} {
		if err := labtest.Command("kubectl", args...); err != nil {
			return 0, err
		}
	}
	if err := balancer.route(); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

// loadBalancer is what a cluster has a load balancer for: addresses in a Service's status, one of each family, and a
// route to a node that has one of the ingress Pods.
type loadBalancer struct{ addresses, node [2]string }

var balancer = loadBalancer{
	addresses: [2]string{"203.0.113.80", "2001:db8:113::80"},
	node:      [2]string{"10.89.0.11", "fd00:89::11"},
}

func (b loadBalancer) status() string {
	return fmt.Sprintf(`{"status": {"loadBalancer": {"ingress": [{"ip": %q}, {"ip": %q}]}}}`, b.addresses[0], b.addresses[1])
}

// route changes only the lab's own router.
func (b loadBalancer) route() error {
	for family, address := range b.addresses {
		args := []string{"-n", config.Prefix + "fabric", "route", "replace", address, "via", b.node[family]}
		if err := labtest.Command("ip", args...); err != nil {
			return err
		}
	}
	return nil
}

func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("kubectl", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func eventually(ctx context.Context, ok func() error) error {
	return labtest.Eventually(ctx, patience, ok)
}
