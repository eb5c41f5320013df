// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package lab

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// fairleadNamespace is the one of the manifests.
const fairleadNamespace = "fairlead-system"

// wantModes has the nodes use each mode that every kernel has, with the rights that the DaemonSet gives its agents and no
// others. In each mode the agents are killed once: what they do at their start needs rights, too.
func (m *machine) wantModes() {
	t := m.t
	t.Helper()
	for _, mode := range []struct{ name, variant string }{
		{"NFTables", ""}, {"IPTables", "nft"}, {"Userspace", ""}, {"IPTables", "legacy"},
	} {
		if mode.variant == "legacy" {
			// By this chain kubelet says which variant a node uses.
			for _, node := range m.config.Topology().Nodes {
				m.must("exec", node.Name, "--", "iptables-legacy", "-t", "mangle", "-N", "KUBE-IPTABLES-HINT")
			}
		}
		m.kubectl("patch", "proxyconfig/default", "--type=merge", "--patch",
			fmt.Sprintf(`{"spec": {"mode": %q, "rollout": {"strategy": "AllAtOnce"}}}`, mode.name))
		m.wantMode(mode.name, mode.variant)
		m.wantNoDenials()
		before := m.agents()
		for _, pid := range before {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, func() error {
			now := m.agents()
			for _, pid := range now {
				for _, old := range before {
					if pid == old {
						return fmt.Errorf("process %d still runs", pid)
					}
				}
			}
			if len(now) != len(before) || len(now) != m.config.Nodes {
				return fmt.Errorf("%d agents run, before %d, on %d nodes", len(now), len(before), m.config.Nodes)
			}
			return nil
		})
		m.kubectl("-n", fairleadNamespace, "rollout", "status", "daemonset/fairlead-agent", "--timeout=90s")
		m.wantMode(mode.name, mode.variant)
		m.wantEverywhere()
		m.wantRights()
		m.wantNoDenials()
	}
}

// denied are lines about rights.
var denied = regexp.MustCompile(`(?i).*(permission denied|operation not permitted|forbidden|read-only file system).*`)

// wantNoDenials reads what the running agents have logged.
func (m *machine) wantNoDenials() {
	m.t.Helper()
	for _, pod := range strings.Fields(m.kubectl("-n", fairleadNamespace, "get", "pods", "-l", "app.kubernetes.io/component=agent", "-o", "name")) {
		log := m.kubectl("-n", fairleadNamespace, "logs", pod)
		if log == "" {
			m.t.Errorf("%s has no log", pod)
		}
		if found := denied.FindAllString(log, -1); len(found) > 0 {
			m.t.Errorf("%s says:\n%s", pod, strings.Join(found, "\n"))
		}
	}
}

// wantMode waits until all nodes say that they have programmed a mode. In IPTables their rules must be where the variant
// has them.
func (m *machine) wantMode(name, variant string) {
	m.t.Helper()
	want := strings.Repeat(name+" True\n", m.config.Nodes)
	const row = `{range .items[*]}{.status.mode} {.status.conditions[?(@.type=="Programmed")].status}{"\n"}{end}`
	eventually(m.t, func() error {
		got := m.kubectl("get", "noderulesets", "-o", "jsonpath="+row)
		if diff := cmp.Diff(want, got); diff != "" {
			return fmt.Errorf("nodes (-want +got):\n%s", diff)
		}
		if variant == "" {
			return nil
		}
		for _, node := range m.config.Topology().Nodes {
			if !strings.Contains(m.must("exec", node.Name, "--", "iptables-"+variant+"-save", "-t", "nat"), "-j FAIRLEAD-") {
				return fmt.Errorf("%s has no rule of Fairlead in the variant %s", node.Name, variant)
			}
		}
		return nil
	})
}

// wantEverywhere asks the Service of the Pod web in both families: from a Pod, from each node, and from outside.
func (m *machine) wantEverywhere() {
	m.t.Helper()
	curl := []string{"curl", "--silent", "--max-time", "2"}
	for _, ip := range strings.Fields(m.kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIPs[0]} {.spec.clusterIPs[1]}")) {
		url := "http://" + net.JoinHostPort(ip, "80")
		m.answered("pod=web", append(append([]string{"exec", "default/probed", "--"}, curl...), url)...)
		for _, node := range m.config.Topology().Nodes {
			m.answered("pod=web", append(append([]string{"exec", node.Name, "--"}, curl...), url)...)
		}
	}
	for _, node := range m.config.Topology().Nodes {
		for _, ip := range []string{node.IPv4.String(), node.IPv6.String()} {
			url := "http://" + net.JoinHostPort(ip, "30080")
			m.answered("pod=web", append(append([]string{"exec", "client", "--"}, curl...), url)...)
		}
	}
}

// agents returns the processes of all agents.
func (m *machine) agents() (pids []int) {
	m.t.Helper()
	comms, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		m.t.Fatal(err)
	}
	for _, node := range m.config.Topology().Nodes {
		want, err := os.Stat(node.NetNSPath)
		if err != nil {
			m.t.Fatal(err)
		}
		for _, comm := range comms {
			name, err := os.ReadFile(comm)
			if err != nil || string(name) != "fairlead-agent\n" {
				continue
			}
			ns, err := os.Stat(filepath.Join(filepath.Dir(comm), "ns/net"))
			if err != nil || !os.SameFile(want, ns) {
				continue
			}
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(comm)))
			if err != nil {
				m.t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

// capabilities are those that the manifest may name.
var capabilities = map[corev1.Capability]uint{
	"NET_ADMIN": unix.CAP_NET_ADMIN, "NET_RAW": unix.CAP_NET_RAW, "NET_BIND_SERVICE": unix.CAP_NET_BIND_SERVICE,
}

// wantRights compares what the agents' processes may do with the DaemonSet.
func (m *machine) wantRights() {
	m.t.Helper()
	want := m.manifestRights()
	pids := m.agents()
	if len(pids) != m.config.Nodes {
		m.t.Fatalf("agents: %v", pids)
	}
	for _, pid := range pids {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			m.t.Fatal(err)
		}
		mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mounts", pid))
		if err != nil {
			m.t.Fatal(err)
		}
		if diff := cmp.Diff(want, processRights(string(status), string(mounts))); diff != "" {
			m.t.Errorf("the agent's rights (-manifest +process):\n%s", diff)
		}
	}
}

// processRights is what two files of a process in /proc say of its rights.
func processRights(status, mounts string) map[string]string {
	rights := map[string]string{}
	for line := range strings.Lines(status) {
		switch name, value, _ := strings.Cut(line, ":"); name {
		case "CapPrm", "CapEff", "CapBnd", "Seccomp", "NoNewPrivs":
			rights[name] = strings.TrimSpace(value)
		}
	}
	for line := range strings.Lines(mounts) {
		if f := strings.Fields(line); len(f) > 3 && f[1] == "/" {
			rights["root"], _, _ = strings.Cut(f[3], ",")
		}
	}
	return rights
}

// manifestRights is what /proc has of a container with the security context of the agents' DaemonSet.
func (m *machine) manifestRights() map[string]string {
	m.t.Helper()
	set, err := m.client().AppsV1().DaemonSets(fairleadNamespace).Get(m.t.Context(), "fairlead-agent", metav1.GetOptions{})
	if err != nil {
		m.t.Fatal(err)
	}
	security := set.Spec.Template.Spec.Containers[0].SecurityContext
	profile := set.Spec.Template.Spec.SecurityContext.SeccompProfile
	if security.Privileged != nil || *security.AllowPrivilegeEscalation || !*security.ReadOnlyRootFilesystem ||
		profile.Type != corev1.SeccompProfileTypeRuntimeDefault || fmt.Sprint(security.Capabilities.Drop) != "[ALL]" {
		m.t.Fatalf("the DaemonSet's security context is not what this test knows: %+v, %+v", security, profile)
	}
	var mask uint64
	for _, name := range security.Capabilities.Add {
		bit, ok := capabilities[name]
		if !ok {
			m.t.Fatalf("capability %s is not known here", name)
		}
		mask |= 1 << bit
	}
	caps := fmt.Sprintf("%016x", mask)
	return map[string]string{
		"CapPrm": caps, "CapEff": caps, "CapBnd": caps,
		"Seccomp": "2", "NoNewPrivs": "1", // a filter; no program may gain rights
		"root": "ro",
	}
}
