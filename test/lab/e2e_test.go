// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/fairlead-proxy/fairlead/test/lab/network"
)

// commandTime bounds one lab command. The first one may build a control plane.
const commandTime = 30 * time.Minute

// machine is a lab besides the one that a developer may be running, driven through
// the lab command as a user does.
type machine struct {
	t      *testing.T
	binary string
	config Config
	before []string
	// patience bounds the waits for what kubelets do.
	patience time.Duration
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to make network namespaces")
	}
	dir := t.TempDir()
	m := &machine{t: t, binary: filepath.Join(dir, "lab-command"), patience: 90 * time.Second}
	m.config = Config{Dir: filepath.Join(dir, "state"), Prefix: fmt.Sprintf("fle%d-", os.Getpid()), Nodes: 3}
	build := exec.Command("go", "build", "-o", m.binary, "./cmd/lab")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	m.before = m.traces()
	t.Cleanup(func() { m.must("down") })
	return m
}

// command prepares a lab command; ctx ends it by Ctrl-C.
func (m *machine) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, m.binary, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	cmd.Env = append(os.Environ(), "FAIRLEAD_LAB_DIR="+m.config.Dir, "FAIRLEAD_LAB_PREFIX="+m.config.Prefix)
	return cmd
}

func (m *machine) run(args ...string) (string, error) {
	if args[0] == "up" {
		args = append(args, "--nodes", strconv.Itoa(m.config.Nodes), "--vm="+strconv.FormatBool(m.config.VM != ""))
	}
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	out, err := m.command(ctx, args...).CombinedOutput()
	return string(out), err
}

func (m *machine) must(args ...string) string {
	m.t.Helper()
	out, err := m.run(args...)
	if err != nil {
		m.t.Fatalf("lab %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// traces is everything on this machine that a lab must not leave behind.
func (m *machine) traces() []string {
	m.t.Helper()
	found, err := network.Names(m.config.Prefix)
	if err != nil {
		m.t.Fatal(err)
	}
	mounts, err := mountsBelow(filepath.Dir(m.config.Dir))
	if err != nil {
		m.t.Fatal(err)
	}
	found = append(found, mounts...)
	cgroups, err := filepath.Glob("/sys/fs/cgroup/" + m.config.cgroupPrefix() + "*")
	if err != nil {
		m.t.Fatal(err)
	}
	v1, err := filepath.Glob("/sys/fs/cgroup/*/" + m.config.cgroupPrefix() + "*")
	if err != nil {
		m.t.Fatal(err)
	}
	found = append(found, slices.Concat(cgroups, v1)...)
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		m.t.Fatal(err)
	}
	for _, process := range processes {
		// All the lab's programs are given a file of its state directory.
		if line, err := os.ReadFile(process); err == nil && bytes.Contains(line, []byte(m.config.Dir)) {
			found = append(found, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	links, err := filepath.Glob("/sys/class/net/*")
	if err != nil {
		m.t.Fatal(err)
	}
	found = append(found, links...)
	if _, err := os.Stat(m.config.Dir); err == nil {
		found = append(found, m.config.Dir)
	}
	return found
}

func (m *machine) wantNothingLeft(when string) {
	m.t.Helper()
	if diff := cmp.Diff(m.before, m.traces()); diff != "" {
		m.t.Errorf("left on the machine after %s (-before +after):\n%s", when, diff)
	}
}

func (m *machine) client() kubernetes.Interface {
	m.t.Helper()
	rest, err := clientcmd.BuildConfigFromFlags("", m.config.Kubeconfig())
	if err != nil {
		m.t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(rest)
	if err != nil {
		m.t.Fatal(err)
	}
	return client
}

func (m *machine) state() State {
	m.t.Helper()
	state, err := m.config.ReadState()
	if err != nil {
		m.t.Fatal(err)
	}
	return state
}

func TestLabComesAndGoes(t *testing.T) {
	m := newMachine(t)
	if out, err := m.run("status"); err == nil || !strings.Contains(out, "no lab is running") {
		t.Errorf("status before: %v, %s", err, out)
	}
	m.must("up")
	if out, err := m.run("up"); err == nil || !strings.Contains(out, "running already") {
		t.Errorf("second up: %v, %s", err, out)
	}
	m.wantCluster()
	m.wantPods()
	m.wantAPIServerBack()
	for _, place := range []string{"client", "node-2", "control"} {
		if out := m.must("exec", place, "--", "kubectl", "get", "--raw", "/readyz"); out != "ok" {
			t.Errorf("readyz seen from %s: %q", place, out)
		}
	}
	running, err := processesInside(m.config.Prefix)
	if err != nil {
		t.Fatal(err)
	}
	logs := t.TempDir()
	m.must("down", "--keep-logs", logs)
	for _, pid := range running {
		if err := gone(pid); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(logs, "kube-apiserver.log")); err != nil {
		t.Errorf("kept logs: %v", err)
	}
	m.wantNothingLeft("down")
	m.must("down") // nothing to do
	m.wantNothingLeft("a second down")
}

// wantCluster checks what the rest of the project relies on.
func (m *machine) wantCluster() {
	t, ctx := m.t, context.Background()
	nodes, err := m.client().CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, node := range nodes.Items {
		got[node.Name] = node.Labels["topology.kubernetes.io/zone"] + " " + strings.Join(node.Spec.PodCIDRs, " ")
	}
	want := map[string]string{
		"node-1": "zone-a 10.244.1.0/24 fd00:244:1::/64",
		"node-2": "zone-b 10.244.2.0/24 fd00:244:2::/64",
		"node-3": "zone-c 10.244.3.0/24 fd00:244:3::/64",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
	dns, err := m.client().CoreV1().Services("kube-system").Get(ctx, "kube-dns", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(2, len(dns.Spec.ClusterIPs)); diff != "" || dns.Spec.ClusterIP != "10.96.0.10" {
		t.Errorf("addresses of the DNS: %v", dns.Spec.ClusterIPs)
	}
	slice, err := m.client().DiscoveryV1().EndpointSlices("default").Get(ctx, "kubernetes", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"10.89.0.10"}, slice.Endpoints[0].Addresses); diff != "" {
		t.Errorf("endpoint of the apiserver (-want +got):\n%s", diff)
	}
}

// wantPods runs one nginx and one echo server on each node, and asks them from
// outside of the cluster, in both families.
func (m *machine) wantPods() {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	pods := m.client().CoreV1().Pods(metav1.NamespaceDefault)
	for _, node := range m.config.Topology().Nodes {
		for name, image := range map[string]string{"web": "nginx:1.14-alpine", "echo": "example.org/echo"} {
			name = name + "-" + node.Name
			_, err := pods.Create(ctx, &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Name: name},
				Spec: corev1.PodSpec{
					NodeName:   node.Name,
					Containers: []corev1.Container{{Name: "server", Image: image}},
				},
			}, metav1.CreateOptions{})
			if err != nil {
				m.t.Fatal(err)
			}
			var addresses []corev1.PodIP
			err = poll(ctx, 100*time.Millisecond, func() error {
				pod, err := pods.Get(ctx, name, metav1.GetOptions{})
				if err != nil || len(pod.Status.PodIPs) != 2 {
					return fmt.Errorf("%s has no addresses: %w", name, err)
				}
				addresses = pod.Status.PodIPs
				return nil
			})
			if err != nil {
				m.t.Fatal(err)
			}
			for _, address := range addresses {
				url := "http://" + net.JoinHostPort(address.IP, "80")
				err := poll(ctx, 100*time.Millisecond, func() error {
					out, err := m.run("exec", "client", "--", "curl", "--silent", "--fail", "--max-time", "2", url)
					if err != nil || !strings.Contains(out, "pod="+name) {
						return fmt.Errorf("%s at %s answers %q, %w", name, url, out, err)
					}
					return nil
				})
				if err != nil {
					m.t.Error(err)
				}
			}
		}
	}
	pod, err := pods.Get(ctx, "echo-node-1", metav1.GetOptions{})
	if err != nil {
		m.t.Fatal(err)
	}
	if out := m.must("exec", "default/echo-node-1", "--", "ip", "-brief", "address"); !strings.Contains(out, pod.Status.PodIP+"/") {
		m.t.Errorf("exec in the Pod with the address %s: %q", pod.Status.PodIP, out)
	}
}

// wantAPIServerBack kills the apiserver, which tests may do at any time.
func (m *machine) wantAPIServerBack() {
	m.t.Helper()
	pid := func() int {
		for _, component := range m.state().Components {
			if component.Name == "kube-apiserver" {
				return component.PID
			}
		}
		m.t.Fatal("no kube-apiserver")
		return 0
	}
	first := pid()
	if err := unix.Kill(first, unix.SIGKILL); err != nil {
		m.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := poll(ctx, 100*time.Millisecond, func() error {
		if pid() == first {
			return errors.New("kube-apiserver was not started again")
		}
		return m.client().Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	})
	if err != nil {
		m.t.Error(err)
	}
}

func TestKilledSupervisor(t *testing.T) {
	m := newMachine(t)
	for _, next := range []string{"up", "down"} {
		if next == "up" {
			m.must("up")
		} else {
			m.wantPods()
		}
		running, err := processesInside(m.config.Prefix)
		if err != nil || len(running) < 4 {
			t.Fatalf("processes %v, %v, want at least the control plane", running, err)
		}
		if err := unix.Kill(m.state().PID, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		// The kernel ends its children, even before anybody sweeps.
		for _, pid := range running {
			eventually(t, func() error { return gone(pid) })
		}
		eventually(t, func() error {
			if pid, err := Holder(m.config); pid != 0 || err != nil {
				return fmt.Errorf("process %d is not gone yet (%w)", pid, err)
			}
			return nil
		})
		m.must(next) // up has to clear what the killed one left
	}
	m.wantNothingLeft("kill -9 and down")
}

func TestInterruptedStart(t *testing.T) {
	m := newMachine(t)
	// At different points: the preparation, the control plane, the nodes.
	for _, after := range []string{"lock", "lab.json", "kubeconfig"} {
		ctx, interrupt := context.WithCancel(context.Background())
		cmd := m.command(ctx, "up")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		m.waitForFile(after)
		interrupt()
		if err := cmd.Wait(); err == nil {
			t.Errorf("up, interrupted after %s: no error", after)
		}
		m.wantNothingLeft("an interrupt after " + after)
	}
}

func TestInterruptedForegroundLab(t *testing.T) {
	m := newMachine(t)
	ctx, interrupt := context.WithCancel(context.Background())
	cmd := m.command(ctx, "run")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	m.waitForFile("lab.json")
	interrupt()
	var exit *exec.ExitError
	if err := cmd.Wait(); errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signaled() {
		t.Errorf("run, interrupted: %v", err)
	}
	m.wantNothingLeft("Ctrl-C")
}

func (m *machine) waitForFile(name string) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	err := poll(ctx, time.Millisecond, func() error {
		_, err := os.Stat(filepath.Join(m.config.Dir, name))
		return err
	})
	if err != nil {
		m.t.Fatal(err)
	}
}
