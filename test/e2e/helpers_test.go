// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/agent/dataplane/nftables"
	"github.com/fairlead-proxy/fairlead/agent/kernel/nft"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
	"github.com/fairlead-proxy/fairlead/test/lab/labtest"
	"github.com/fairlead-proxy/fairlead/test/lab/network"
	"github.com/fairlead-proxy/fairlead/test/robustness/traffic"
)

// echoPort is the echo server's port for lines of text.
const echoPort = 9000

// eventually polls until ok returns no error, and fails the test with the last
// error when the time is over.
func eventually(t *testing.T, patience time.Duration, ok func() error) {
	t.Helper()
	if err := labtest.Eventually(context.Background(), patience, ok); err != nil {
		t.Fatalf("not within %v: %v", patience, err)
	}
}

// newEcho creates a Deployment of echo servers and its Service, and waits
// until it answers on node-1.
func newEcho(t *testing.T, namespace string, replicas int32, change ...func(*corev1.Service)) *corev1.Service {
	t.Helper()
	labels := map[string]string{"app": "echo"}
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "echo"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					TerminationGracePeriodSeconds: ptr.To[int64](1),
					Containers: []corev1.Container{{
						Name: "echo", Image: "echo", Args: []string{"--tcp=:9000", "--udp=:9000"},
						ReadinessProbe: &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{
							TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(echoPort)}}},
					}},
				},
			},
		},
	}
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "echo"},
		Spec: corev1.ServiceSpec{
			Selector: labels,
			Ports:    []corev1.ServicePort{{Name: "tcp", Port: echoPort}},
		},
	}
	for _, c := range change {
		c(service)
	}
	for _, obj := range []client.Object{deployment, service} {
		if err := api.Create(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, time.Minute, func() error {
		current := &appsv1.Deployment{}
		if err := api.Get(t.Context(), client.ObjectKeyFromObject(deployment), current); err != nil {
			return err
		}
		if current.Status.ReadyReplicas != replicas {
			return fmt.Errorf("%d of %d Pods are ready", current.Status.ReadyReplicas, replicas)
		}
		return ask("node-1", service.Spec.ClusterIP, echoPort)
	})
	return service
}

// nsPath is the network namespace of a node or of the client.
func nsPath(name string) string {
	return filepath.Join("/run/netns", config.Prefix+name)
}

// inNode runs a command in a node's network namespace.
func inNode(node string, command ...string) (string, error) {
	// `ip netns exec` does not work in a chroot.
	out, err := exec.Command("nsenter", append([]string{"--net=" + nsPath(node)}, command...)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%v on %s: %w: %s", command, node, err, out)
	}
	return string(out), nil
}

// dial opens a connection from a namespace.
func dial(from, address string, port int32) (*traffic.Conversation, error) {
	return traffic.Dial(nsPath(from), net.JoinHostPort(address, strconv.Itoa(int(port))))
}

// ask opens a connection, sends one line and closes it.
func ask(from, address string, port int32) error {
	return traffic.Ask(nsPath(from), net.JoinHostPort(address, strconv.Itoa(int(port))))
}

// refused reports whether a connection is refused at once.
func refused(from, address string, port int32) error {
	c, err := dial(from, address, port)
	if err == nil {
		c.Close()
		return errors.New("answered, want it refused")
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("got %w, want it refused", err)
	}
	return nil
}

// agentPID returns the process of a node's agent, as seen from the host.
func agentPID(node string) (int, error) { return processOn(node, "fairlead-agent") }

// processOn returns the process of a program on a node, as seen from the host.
func processOn(node, program string) (int, error) {
	want, err := os.Stat(nsPath(node))
	if err != nil {
		return 0, err
	}
	comms, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return 0, err
	}
	program = program[:min(len(program), 15)] // the kernel keeps no more
	for _, comm := range comms {
		name, err := os.ReadFile(comm)
		if err != nil || strings.TrimSpace(string(name)) != program {
			continue
		}
		dir := filepath.Dir(comm)
		if ns, err := os.Stat(filepath.Join(dir, "ns/net")); err == nil && os.SameFile(want, ns) {
			return strconv.Atoi(filepath.Base(dir))
		}
	}
	return 0, fmt.Errorf("no %s runs on %s", program, node)
}

// agentStatus returns what a node's agent reports.
func agentStatus(node string) (v1alpha1.NodeRuleSetStatus, error) {
	var status v1alpha1.NodeRuleSetStatus
	body, err := askAgent(node, "/status")
	if err != nil {
		return status, err
	}
	return status, json.Unmarshal(body, &status)
}

// askAgent returns what an agent serves at a path.
func askAgent(node, path string) ([]byte, error) {
	transport := &http.Transport{DialContext: network.DialContext(nsPath(node)), DisableKeepAlives: true}
	web := &http.Client{Transport: transport, Timeout: 2 * time.Second}
	answer, err := web.Get("http://127.0.0.1:10249" + path)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", answer.Status, body)
	}
	return body, err
}

// agentOperations returns how many objects an agent has added to the kernel or deleted since it
// started, as its metrics have it.
func agentOperations(t *testing.T, node string) (count string) {
	t.Helper()
	eventually(t, 20*time.Second, func() error {
		text, err := askAgent(node, "/metrics")
		if err != nil {
			return err
		}
		found := regexp.MustCompile(`(?m)^fairlead_agent_kernel_operations_total (.+)$`).FindSubmatch(text)
		if found == nil {
			return errors.New("the agent has no count of kernel operations")
		}
		count = string(found[1])
		return nil
	})
	return count
}

// desired computes a node's rules from the Services in the API, independent of the
// controller and the agent.
func desired(ctx context.Context, node string) (model.Desired, string, error) {
	var set v1alpha1.NodeRuleSet
	if err := api.Get(ctx, client.ObjectKey{Name: node}, &set); err != nil {
		return model.Desired{}, "", err
	}
	var services corev1.ServiceList
	if err := api.List(ctx, &services); err != nil {
		return model.Desired{}, "", err
	}
	var endpoints discoveryv1.EndpointSliceList
	if err := api.List(ctx, &endpoints); err != nil {
		return model.Desired{}, "", err
	}
	in := compile.Input{}
	for i := range endpoints.Items {
		in.EndpointSlices = append(in.EndpointSlices, &endpoints.Items[i])
	}
	settings, err := resolve.Settings(set.Spec)
	if err != nil {
		return model.Desired{}, "", err
	}
	table := resolve.NewTable()
	table.SetNode(settings)
	var digests []string
	for i := range services.Items {
		in.Service = &services.Items[i]
		parts := map[corev1.IPFamily][]*v1alpha1.ServiceRuleSliceSpec{}
		for _, s := range compile.Service(in).Slices {
			parts[s.Spec.AddressFamily] = append(parts[s.Spec.AddressFamily], &s.Spec)
			digests = append(digests, s.Spec.Digest)
		}
		for family, p := range parts {
			id := model.ServiceID{Namespace: in.Service.Namespace, Name: in.Service.Name, Family: family}
			resolved, err := resolve.Service(resolve.Node{Name: node, Spec: set.Spec}, id, p)
			if err != nil {
				return model.Desired{}, "", err
			}
			table.Set(id, resolved)
		}
	}
	return table.Desired(), model.XORDigest(digests...), nil
}

// wantKernel waits until the agent reports that it has programmed the rules in the
// API, and then checks the kernel itself: a Sync must find nothing to do.
func wantKernel(t *testing.T, node string) {
	t.Helper()
	// A Pod may become ready or unready at any moment: then the desired rules have
	// changed, or the agent is in the middle of a change, perhaps to other rules and back.
	for tries := 1; ; tries++ {
		before, busy := commits(t, node), agentOperations(t, node)
		want, digest := programmed(t, node)
		if commits(t, node) != before && tries < 20 {
			continue
		}
		operations, err := differences(t, node, want)
		if err != nil && tries < 20 { // the agent has changed the same at the same time
			continue
		}
		if operations == 0 && err == nil {
			return
		}
		_, now, failed := desired(t.Context(), node)
		if failed != nil {
			t.Fatal(failed)
		}
		if now == digest && agentOperations(t, node) == busy || tries >= 20 {
			t.Errorf("the kernel of %s differed from the desired rules by %d operations: %v", node, operations, err)
			return
		}
	}
}

// programmed waits until an agent has programmed the rules in the API, and returns
// them.
func programmed(t *testing.T, node string) (want model.Desired, digest string) {
	t.Helper()
	eventually(t, 20*time.Second, func() (err error) {
		if want, digest, err = desired(t.Context(), node); err != nil {
			return err
		}
		status, err := agentStatus(node)
		if err != nil {
			return err
		}
		if status.RulesDigest != digest {
			return fmt.Errorf("the agent has programmed %s, the API holds %s", status.RulesDigest, digest)
		}
		return nil
	})
	return want, digest
}

// commits returns the number of changes to a node's nftables.
func commits(t *testing.T, node string) uint32 {
	t.Helper()
	ns, err := os.Open(nsPath(node))
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	client, err := nft.Dial(int(ns.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	n, err := client.Commits(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// differences syncs a node's kernel to the desired rules, and returns the number of
// operations.
func differences(t *testing.T, node string, want model.Desired) (int, error) {
	t.Helper()
	ns, err := os.Open(nsPath(node))
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	plane, err := nftables.New(nftables.Options{NetNS: int(ns.Fd())})
	if err != nil {
		t.Fatal(err)
	}
	defer plane.Close()
	stats, err := plane.Sync(t.Context(), want, nil)
	return stats.Operations, err
}
