// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package lab

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var inVM = flag.Bool("vm", false, "run the test of IPVS, which starts a virtual machine")

// vmPatience is for a machine that is emulated on a busy one.
const vmPatience = 10 * time.Minute

// TestIPVS has a node whose kernel has ip_vs, between nodes that use another mode.
func TestIPVS(t *testing.T) {
	if !*inVM {
		t.Skip("needs a virtual machine: make test-vm-node")
	}
	m := newMachine(t)
	m.config.Nodes, m.config.VM, m.patience = 2, "hack/vm", vmPatience
	m.step("up")
	m.must("up")
	m.step("install")
	m.installFairlead("single-node")
	m.kubectl("apply", "-f", m.ipvsSample(), "-f", "testdata/ipvs.yaml")
	m.kubectl("wait", "pod", "--all", "--for=condition=Ready", "--timeout="+m.patience.String())
	for _, part := range []struct {
		name string
		test func()
	}{{"Node", m.ipvsNode}, {"Handovers", m.ipvsHandovers}, {"TakeOver", m.ipvsTakeOver}} {
		t.Run(part.name, func(t *testing.T) {
			whole := m.t
			m.t = t
			defer func() { m.t = whole }()
			part.test()
		})
	}
	m.step("down")
	m.must("down")
	m.wantNothingLeft("down")
}

// ipvsNode has the node use the mode IPVS, without a fallback, with the rights that the DaemonSet gives its agent and no
// others. The agent is killed once.
func (m *machine) ipvsNode() {
	m.wantModeInVM("IPVS")
	m.wantNoDenials()
	m.step("packets")
	ips := m.serviceIPs()
	m.wantAnswers(ips)
	before := m.connections(ips[0])
	if before == 0 {
		m.t.Error("the kernel has counted no connection to the virtual server that has answered")
	}
	m.step("rights")
	m.wantNodeRights()

	m.step("kill")
	m.killAgent(net.JoinHostPort(ips[0], "9000"))
	m.wantModeInVM("IPVS")
	if after := m.connections(ips[0]); after < before {
		m.t.Errorf("%d connections to the virtual server, before the agent was killed %d: it is another one", after, before)
	}
	m.wantAnswers(ips)
	m.wantNodeRights()
	m.wantNoDenials()
}

// serviceIPs are the ClusterIPs of the Service, one of each family.
func (m *machine) serviceIPs() []string {
	m.t.Helper()
	return strings.Fields(m.kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIPs[0]} {.spec.clusterIPs[1]}"))
}

// step says in the log of the test what comes.
func (m *machine) step(name string) { m.t.Logf("%s  %s", time.Now().Format(time.TimeOnly), name) }

// ipvsSample is the sample of IPVS for the first node: applied at once, and without the modes for other kernels.
func (m *machine) ipvsSample() string {
	m.t.Helper()
	sample, err := os.ReadFile(filepath.Join("..", "..", "config", "samples", "proxyconfig-ipvs.yaml"))
	if err != nil {
		m.t.Fatal(err)
	}
	text := string(sample)
	for pattern, replacement := range map[string]string{
		`(?m)^  nodeSelector: .*$`:  "  nodeSelector: {matchLabels: {kubernetes.io/hostname: node-1}}\n  rollout: {strategy: AllAtOnce, nodeDeadlineSeconds: 600}",
		`(?m)^  fallbackModes: .*$`: "",
	} {
		re := regexp.MustCompile(pattern)
		if !re.MatchString(text) {
			m.t.Fatalf("the sample has no %s", pattern)
		}
		text = re.ReplaceAllString(text, replacement)
	}
	file := filepath.Join(m.t.TempDir(), "ipvs.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
	return file
}

// wantModeInVM waits until the first node has programmed a mode, and the other one still its own.
func (m *machine) wantModeInVM(mode string) {
	m.t.Helper()
	m.answered(mode+" True\nNFTables True\n", "exec", "control", "--", "kubectl", "get", "noderulesets", "-o",
		`jsonpath={range .items[*]}{.status.mode} {.status.conditions[?(@.type=="Programmed")].status}{"\n"}{end}`)
}

// inNode runs a shell's commands in the network of the first node, among its processes.
func (m *machine) inNode(commands string) string {
	m.t.Helper()
	return m.kubectl("exec", "node", "--", "sh", "-c", commands)
}

// wantAnswers asks the Service through the first node, in both families: from outside by its node's port, and by its
// ClusterIPs from outside, from the node, and from a Pod on it. Its Pods on both nodes must answer.
func (m *machine) wantAnswers(ips []string) {
	m.t.Helper()
	node := m.config.Topology().Nodes[0]
	const curl = "curl --silent --max-time 10 "
	ask := ""
	for _, ip := range ips {
		url := "http://" + net.JoinHostPort(ip, "80")
		ask += curl + url + " && "
		m.answered("pod=web-1", "exec", "client", "--", "sh", "-c", curl+url)
		m.answered("pod=web-2", "exec", "client", "--", "sh", "-c", curl+url)
	}
	for _, ip := range []string{node.IPv4.String(), node.IPv6.String()} {
		url := "http://" + net.JoinHostPort(ip, "30080")
		m.answered("pod=web-1", "exec", "client", "--", "sh", "-c", curl+url)
		m.answered("pod=web-2", "exec", "client", "--", "sh", "-c", curl+url)
	}
	for _, pod := range []string{"node", "web-1"} {
		m.answered("all=answered", "exec", "control", "--", "kubectl", "exec", pod, "--", "sh", "-c", ask+"echo all=answered")
	}
}

// connections is how many connections the kernel has led to the virtual server of a ClusterIP, which must have both Pods.
func (m *machine) connections(ip string) int {
	m.t.Helper()
	out := m.inNode("ipvsadm --list --numeric --exact --stats --tcp-service " + net.JoinHostPort(ip, "80"))
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var servers []string
	count := -1
	for _, line := range lines {
		switch f := strings.Fields(line); {
		case len(f) > 2 && f[0] == "TCP":
			var err error
			if count, err = strconv.Atoi(f[2]); err != nil {
				m.t.Fatalf("virtual servers: %v:\n%s", err, out)
			}
		case len(f) > 1 && f[0] == "->" && !strings.HasPrefix(f[1], "Remote"):
			servers = append(servers, f[1])
		}
	}
	var want []string
	for _, pod := range []string{"web-1", "web-2"} {
		want = append(want, net.JoinHostPort(m.kubectl("get", "pod", pod, "-o", "jsonpath={.status.podIP}"), "80"))
	}
	if diff := cmp.Diff(want, servers); diff != "" {
		m.t.Errorf("the virtual server's real servers (-want +got):\n%s\n%s", diff, out)
	}
	return count
}

// wantNodeRights is wantRights for the node that has its processes elsewhere.
func (m *machine) wantNodeRights() {
	m.t.Helper()
	out := m.inNode("pid=$(pidof fairlead-agent) && cat /proc/$pid/status && echo --- && cat /proc/$pid/mounts")
	status, mounts, _ := strings.Cut(out, "---\n")
	if diff := cmp.Diff(m.manifestRights(), processRights(status, mounts)); diff != "" {
		m.t.Errorf("the agent's rights (-manifest +process):\n%s", diff)
	}
}

// killAgent kills the agent of the first node, and waits for the next one, which must find all as it should be. An open
// connection goes on.
func (m *machine) killAgent(address string) {
	t := m.t
	t.Helper()
	open, err := m.dial(address)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	say := func(when string) {
		if err := open.say(when); err != nil {
			t.Errorf("a connection through the node, %s: %v", when, err)
		}
	}
	say("before the agent is killed")
	m.inNode("kill -9 $(pidof fairlead-agent)")
	say("without an agent")
	m.waitAgent(1)
	say("with the next agent")
	log := m.kubectl("-n", fairleadNamespace, "logs", m.agentPod())
	if !strings.Contains(log, `"fromCheckpoint":true`) {
		t.Errorf("the next agent has not read what the one before has written:\n%s", log)
	}
}

// agentPod is the Pod of the agent of the first node.
func (m *machine) agentPod() string {
	m.t.Helper()
	return strings.TrimSpace(m.kubectl("-n", fairleadNamespace, "get", "pods", "-l", "app.kubernetes.io/component=agent",
		"--field-selector=spec.nodeName=node-1", "-o", "name"))
}

// waitAgent waits until the agent of the first node was restarted so often, and is ready.
func (m *machine) waitAgent(restarts int) {
	m.t.Helper()
	pod := m.agentPod()
	ctx, cancel := context.WithTimeout(m.t.Context(), m.patience)
	defer cancel()
	err := poll(ctx, time.Second, func() error {
		got := m.kubectl("-n", fairleadNamespace, "get", pod, "-o",
			"jsonpath={.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].ready}")
		if got != fmt.Sprintf("%d true", restarts) {
			return fmt.Errorf("the agent's restarts and readiness: %q, want %d", got, restarts)
		}
		return nil
	})
	if err != nil {
		m.t.Fatal(err)
	}
}
