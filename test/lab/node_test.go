// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package lab

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestNodes runs Fairlead from its images, with the manifests that users apply, and asks what
// only a kubelet does of Pods.
func TestNodes(t *testing.T) {
	m := newMachine(t)
	m.must("up")
	m.installFairlead("default")
	m.kubectl("apply", "-f", "testdata/pods.yaml")
	m.wantServices()
	m.wantProbes()
	m.wantModes()
	m.must("down")
	m.wantNothingLeft("down")

	m.must("up")
	m.kubectl("apply", "-f", "testdata/pods.yaml")
	m.kubectl("wait", "pod/web", "--for=condition=Ready", "--timeout=60s")
	running, err := processesInside(m.config.Prefix)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(m.state().PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for _, pid := range running {
		eventually(t, func() error { return gone(pid) })
	}
	m.must("down")
	m.wantNothingLeft("kill -9 and down")
}

// kubectl runs it inside the lab.
func (m *machine) kubectl(args ...string) string {
	m.t.Helper()
	return m.must(append([]string{"exec", "control", "--", "kubectl"}, args...)...)
}

// installFairlead installs it with the manifests of a folder below config.
func (m *machine) installFairlead(manifests string) {
	m.t.Helper()
	config := filepath.Join("..", "..", "config")
	m.kubectl("apply", "--server-side", "-k", filepath.Join(config, manifests))
	m.kubectl("apply", "-f", filepath.Join(config, "samples", "proxyconfig.yaml"))
	timeout := "--timeout=" + m.patience.String()
	m.kubectl("wait", "proxyconfig/default", "--for=condition=Available", timeout)
	m.kubectl("-n", "kube-system", "rollout", "status", "deployment/coredns", timeout)
	m.kubectl("-n", "fairlead-system", "rollout", "status", "daemonset/fairlead-agent", timeout)
}

// answered polls until a command prints something.
func (m *machine) answered(want string, args ...string) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), m.patience)
	defer cancel()
	err := poll(ctx, 100*time.Millisecond, func() error {
		out, err := m.run(args...)
		if err != nil || !strings.Contains(out, want) {
			return fmt.Errorf("%v: %q, %w; want %q", args, out, err, want)
		}
		return nil
	})
	if err != nil {
		m.t.Error(err)
	}
}

// wantServices asks the server by its name and both ClusterIPs from a Pod, by the port of its node
// from outside, and from the network of its own Pod.
func (m *machine) wantServices() {
	m.t.Helper()
	m.wantNames()
	for _, address := range []string{"10.89.0.12", "fd00:89::12"} {
		url := "http://" + net.JoinHostPort(address, "18080")
		m.answered("pod=web", "exec", "client", "--", "curl", "--silent", "--max-time", "2", url)
	}
	// A Service's Pod as its client: on the bridge its packets come back to where they came from.
	ip := m.kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
	m.answered("pod=web", "exec", "default/web", "--", "curl", "--silent", "--max-time", "2", "http://"+ip)
}

// wantNames asks the server by its name in both families from a Pod: cluster DNS and Services work.
func (m *machine) wantNames() {
	m.t.Helper()
	m.kubectl("wait", "pod/web", "--for=condition=Ready", "--timeout=60s")
	m.kubectl("wait", "pod/probed", "--for=jsonpath={.status.phase}=Running", "--timeout=60s")
	for _, family := range []string{"-4", "-6"} {
		m.answered("pod=web", "exec", "control", "--", "kubectl", "exec", "probed", "--",
			"curl", "--silent", "--max-time", "2", family, "http://web.default.svc.cluster.local/")
	}
}

// wantProbes has a Pod become ready, and be restarted, by commands inside of it.
func (m *machine) wantProbes() {
	m.t.Helper()
	if out := m.kubectl("logs", "probed"); out != "started\n" {
		m.t.Errorf("log of the Pod: %q", out)
	}
	if out := m.kubectl("get", "pod", "probed", "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`); out != "False" {
		m.t.Errorf("the Pod is ready before its probe succeeds: %q", out)
	}
	m.kubectl("exec", "probed", "--", "touch", "/tmp/ready")
	m.kubectl("wait", "pod/probed", "--for=condition=Ready", "--timeout=30s")
	m.kubectl("exec", "probed", "--", "rm", "/tmp/alive")
	m.answered("1", "exec", "control", "--", "kubectl", "get", "pod", "probed", "-o", "jsonpath={.status.containerStatuses[0].restartCount}")
}
