// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package lab

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-proxy/fairlead/rules/takeover"
	"github.com/fairlead-proxy/fairlead/test/lab/ruledump"
)

// ipvsTakeOver has the node give back to a real kube-proxy in its mode ipvs, and take over from it, in the mode NFTables and
// in IPVS, which has the same virtual servers. No connection fails, and open ones go on.
func (m *machine) ipvsTakeOver() {
	ips := m.serviceIPs()
	fresh := map[string]ruledump.Rules{}
	for _, mode := range []string{"IPVS", "NFTables"} {
		m.patchPolicy(`{"mode": %q}`, mode)
		m.wantModeInVM(mode)
		if mode != "IPVS" {
			m.wantNoVirtualServers()
		}
		fresh[mode] = m.freshAgent()
	}
	m.kubectl("apply", "--server-side", "-k", filepath.Join("..", "..", "config", "takeover"))
	manifest := m.kubeProxyManifest()
	for _, mode := range []string{"NFTables", "IPVS"} {
		m.step("give back")
		load, open := m.startLoad(ips), m.openStreams(ips)
		m.patchPolicy(`{"mode": "NFTables", "kubeProxy": {"takeOver": false}}`)
		m.kubectl("apply", "-f", manifest)
		m.wantReplaced("GivenBack")
		m.wantRestored()
		open.say(m.t, "given back to kube-proxy")
		open.close()
		load.end("given back to kube-proxy")
		m.wantFreshKubeProxy()

		m.step("take over in the mode " + mode)
		load, open = m.startLoad(ips), m.openStreams(ips)
		m.patchPolicy(`{"mode": %q, "kubeProxy": {"takeOver": true}}`, mode)
		m.wantReplaced("Replaced")
		m.wantModeInVM(mode)
		open.say(m.t, "taken over from kube-proxy")
		if servers := m.virtualServers(); !strings.Contains(servers, " "+net.JoinHostPort(ips[0], "9000")+" ") {
			m.t.Errorf("no virtual server, with open connections through it:\n%s", servers)
		}
		open.close()
		load.end("taken over from kube-proxy")
		m.wantRules("a fresh agent", fresh[mode])
		m.wantAnswers(ips)
		m.wantNoDenials()
	}
}

// patchPolicy changes the policy of the node. The options of IPVS are refused with another mode.
func (m *machine) patchPolicy(spec string, args ...any) {
	m.t.Helper()
	m.kubectl("patch", "proxyconfig/ipvs", "--type=merge", "--patch", `{"spec": {"ipvs": null}}`)
	m.kubectl("patch", "proxyconfig/ipvs", "--type=merge", "--patch", `{"spec": `+fmt.Sprintf(spec, args...)+`}`)
}

// wantReplaced waits until the policy says of kube-proxy what it should.
func (m *machine) wantReplaced(reason string) {
	m.t.Helper()
	generation := m.kubectl("get", "proxyconfig/ipvs", "-o", "jsonpath={.metadata.generation}")
	m.answered(reason+" "+generation+"\n", "exec", "control", "--", "kubectl", "get", "proxyconfig/ipvs", "-o",
		`jsonpath={range .status.conditions[?(@.type=="KubeProxyReplaced")]}{.reason} {.observedGeneration}{"\n"}{end}`)
}

// wantRestored waits until kube-proxy's DaemonSet has its affinity of before, which restarts kube-proxy once more.
func (m *machine) wantRestored() {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), m.patience)
	defer cancel()
	err := poll(ctx, time.Second, func() error {
		set, err := m.client().AppsV1().DaemonSets("kube-system").Get(ctx, "kube-proxy", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if s := set.Status; takeover.IsChanged(set) || s.ObservedGeneration != set.Generation || s.UpdatedNumberScheduled != 1 || s.NumberAvailable != 1 {
			return fmt.Errorf("DaemonSet kube-proxy, generation %d, annotations %v: %+v", set.Generation, set.Annotations, s)
		}
		return nil
	})
	if err != nil {
		m.t.Fatal(err)
	}
}

// rules are those of the node.
func (m *machine) rules() ruledump.Rules {
	m.t.Helper()
	return ruledump.Parse(m.inNode(ruledump.IPVSScript))
}

// wantRules waits until the node's rules are those of something else: what drains goes after the last connection.
func (m *machine) wantRules(of string, want ruledump.Rules) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), m.patience)
	defer cancel()
	err := poll(ctx, time.Second, func() error {
		if diff := cmp.Diff(want, m.rules().Without(want)); diff != "" {
			return fmt.Errorf("rules (-%s +now):\n%s", of, diff)
		}
		return nil
	})
	if err != nil {
		m.t.Error(err)
	}
}

// runningAgent waits until the agent of the first node runs and is ready: after it was killed more than once the kubelet waits
// before it starts the next one. It returns how often it was restarted.
func (m *machine) runningAgent() int {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), m.patience)
	defer cancel()
	restarts := 0
	err := poll(ctx, time.Second, func() error {
		pid := strings.TrimSpace(m.inNode("pidof fairlead-agent || true"))
		out := m.kubectl("-n", fairleadNamespace, "get", m.agentPod(), "-o",
			"jsonpath={.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].ready}")
		ready := false
		if _, err := fmt.Sscan(out, &restarts, &ready); err != nil || !ready || pid == "" {
			return fmt.Errorf("the agent's restarts and readiness: %q, its process %q", out, pid)
		}
		return nil
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return restarts
}

// freshAgent has a new agent write the node's rules, of which nothing is there.
func (m *machine) freshAgent() ruledump.Rules {
	m.t.Helper()
	m.step("a fresh agent")
	before := m.runningAgent()
	m.inNode(`pid=$(pidof fairlead-agent) && kill -STOP $pid
nft delete table ip fairlead; nft delete table ip6 fairlead; ipvsadm --clear; ip link delete kube-ipvs0 2>/dev/null
kill -9 $pid`)
	m.waitAgent(before + 1)
	return m.settledRules(" fairlead {")
}

// wantFreshKubeProxy checks that the node's rules are those that a new kube-proxy writes, of which nothing is there.
func (m *machine) wantFreshKubeProxy() {
	m.t.Helper()
	m.step("a fresh kube-proxy")
	given := m.settledRules("KUBE-SERVICES")
	m.inNode(`pid=$(pidof kube-proxy) && kill -STOP $pid && nsenter --target $pid --mount ` + m.kubeProxyProgram() + ` --cleanup
kill -9 $pid`)
	m.wantRules("given back", given)
}

// settledRules waits for rules with a key, or a line, that has a part, and that stay the same for a time.
func (m *machine) settledRules(part string) ruledump.Rules {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), m.patience)
	defer cancel()
	var before ruledump.Rules
	err := poll(ctx, 3*time.Second, func() error {
		now := m.rules()
		diff := cmp.Diff(before, now)
		before = now
		if diff != "" {
			return fmt.Errorf("rules that change (-before +after):\n%s", diff)
		}
		if !strings.Contains(fmt.Sprint(now), part) {
			return fmt.Errorf("no %q in the rules:\n%v", part, now)
		}
		return nil
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return before
}

// kubeProxyProgram is the path of kube-proxy on this machine, which is also that in the virtual machine.
func (m *machine) kubeProxyProgram() string {
	m.t.Helper()
	program := os.Getenv("KUBE_PROXY")
	if program == "" {
		m.t.Fatal("KUBE_PROXY does not name the program of kube-proxy: run `make test-vm-node`")
	}
	return program
}

// kubeProxyManifest is the manifest of kube-proxy for the first node: in its mode ipvs, and with an image that an emulated
// machine has pulled in a moment. Its programs are the node's.
func (m *machine) kubeProxyManifest() string {
	m.t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "e2e", "kube-proxy.yaml"))
	if err != nil {
		m.t.Fatal(err)
	}
	server := m.kubectl("-n", fairleadNamespace, "get", "configmap", "fairlead-apiserver", "-o", "jsonpath={.data.addresses}")
	docs := strings.Split(strings.NewReplacer("MODE", "ipvs", "APISERVER", server).Replace(string(text)), "\n---\n")
	last := len(docs) - 1
	var set appsv1.DaemonSet
	if err := yaml.UnmarshalStrict([]byte(docs[last]), &set); err != nil {
		m.t.Fatal(err)
	}
	program := m.kubeProxyProgram()
	pod := &set.Spec.Template.Spec
	pod.NodeSelector = map[string]string{corev1.LabelHostname: "node-1"}
	c := &pod.Containers[0]
	c.Image, c.Command = "pause", []string{program}
	c.SecurityContext.RunAsUser = ptr.To[int64](0)
	c.Env = append(c.Env, corev1.EnvVar{Name: "PATH", Value: "/usr/sbin:/usr/bin:/sbin:/bin"})
	for i, dir := range []string{"/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/alternatives", "/etc/protocols", filepath.Dir(program)} {
		name := fmt.Sprintf("programs-%d", i)
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: name, MountPath: dir, ReadOnly: true})
		pod.Volumes = append(pod.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: dir}}})
	}
	encoded, err := yaml.Marshal(set)
	if err != nil {
		m.t.Fatal(err)
	}
	docs[last] = string(encoded)
	file := filepath.Join(m.t.TempDir(), "kube-proxy.yaml")
	if err := os.WriteFile(file, []byte(strings.Join(docs, "\n---\n")), 0o600); err != nil {
		m.t.Fatal(err)
	}
	return file
}
