// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/test/lab/labtest"
	"github.com/fairlead-proxy/fairlead/test/lab/network"
)

// faultsOfKernels are those of the policy and of what nodes have.
func faultsOfKernels(t *testing.T) []faults {
	nowhere := filepath.Join(t.TempDir(), "nowhere.yaml")
	if err := os.WriteFile(nowhere, []byte(`{apiVersion: proxy.fairlead.dev/v1alpha1, kind: ProxyConfig, metadata: {name: nowhere}, spec: {nodeSelector: {matchLabels: {no: node}}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	nft := func(node, command string) func() error {
		return func() error {
			_, err := inNode(node, "nft", command)
			return err
		}
	}
	balancer := localService(newNamespace(t), "balancer")
	balancer.Spec.Type, balancer.Spec.HealthCheckNodePort = corev1.ServiceTypeLoadBalancer, 30556
	held := &holder{node: "node-1", port: balancer.Spec.HealthCheckNodePort}
	t.Cleanup(func() { _ = held.release() }) // after a failure
	list := []fault{
		{"kube-proxy is on no node", "node-1: rules of kube-proxy are left", "run kube-proxy --cleanup on the node", nft("node-1", "add table ip kube-proxy"), nft("node-1", "delete table ip kube-proxy")},
		{"ProxyConfigs are accepted", "nowhere: NoNodesSelected", "change what the message says", kubectlDoes("apply", "-f", nowhere), kubectlDoes("delete", "-f", nowhere)},
		{"localTraffic fits the nodes' Pod CIDRs", "node-1: its podCIDR", "set spec.localTraffic", patched(`{"spec": {"localTraffic": {"detect": "ClusterCIDR", "clusterCIDRs": ["192.0.2.0/24"]}}}`),
			patched(`{"spec": {"localTraffic": {"detect": "NodeCIDR", "clusterCIDRs": null}}}`)},
		{"node ports have an address on each node", "node-1: none of its addresses", "add Primary", patched(`{"spec": {"nodePort": {"addresses": ["203.0.113.0/24"]}}}`),
			patched(`{"spec": {"nodePort": {"addresses": ["Primary"]}}}`)},
		repeated(t, "node-2", "flush map ip fairlead services"),
		{"admission policies are enforced", "default: ", "config/admission-olm", kubectlDoes("delete", "validatingadmissionpolicybinding", "fairlead-rules.fairlead.dev"),
			kubectlDoes("apply", "--server-side", "-k", filepath.Join(repo, "config", "admission-olm"))},
		{"the agents' ports are free", "node-1: ", "end the program that has the port", together(held.hold, func() error { return api.Create(t.Context(), balancer) }), held.release},
	}
	if full, possible := fullConntrack(t, "node-3"); possible {
		list = append(list, full)
	}
	return []faults{{[]string{"--kernel"}, list}}
}

// repeated has a program change a node's rules faster than the agent repairs them.
func repeated(t *testing.T, node, command string) fault {
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	return fault{"kernels have what their agents have programmed", node + ": ", "end what changes the rules", func() error {
		go func() {
			defer close(stopped)
			for ctx.Err() == nil {
				_, _ = inNode(node, "nft", command)
			}
		}()
		return nil
	}, func() error {
		stop()
		<-stopped
		return nil
	}}
}

// faultsOfUserspace are those that a node has in the mode Userspace only, and one of the kernel's parameters: those of
// connection tracking are the machine's, so no agent of the lab raises them.
func faultsOfUserspace(t *testing.T) []faults {
	held := &holder{node: "node-1", port: 30555}
	create := func() error { // with a Pod: without endpoints there is no socket
		newEcho(t, newNamespace(t), 1, func(s *corev1.Service) { s.Spec.Type, s.Spec.Ports[0].NodePort = corev1.ServiceTypeNodePort, held.port })
		return nil
	}
	t.Cleanup(func() { _ = held.release() }) // after a failure
	mode := func(name, least string) func() error {
		return patched(fmt.Sprintf(`{"spec": {"mode": %q, "conntrack": {"min": %s}}}`, name, least))
	}
	return []faults{{nil, []fault{
		{"the nodes' modes support what Services need", "node-1: ", "change the Service, the node, or the mode",
			together(held.hold, create), held.release},
		{"connection tracking is as the policy has it", "node-2: ", "remove the field from spec.conntrack", mode("Userspace", "16777216"), mode("Userspace", "131072")},
	}}}
}

// localService is a Service without Pods, with the policy Local.
func localService(namespace, name string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"app": name}, Ports: []corev1.ServicePort{{Port: echoPort}}, ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal}}
}

// holder has a port of a node in use.
type holder struct {
	node     string
	port     int32
	listener net.Listener
}

func (h *holder) hold() (err error) {
	h.listener, err = network.Listen(nsPath(h.node), net.JoinHostPort("0.0.0.0", strconv.Itoa(int(h.port))))
	return err
}

func (h *holder) release() error {
	if h.listener == nil {
		return nil
	}
	return h.listener.Close()
}

// mostFlows are what a test may have the kernel remember: 100 MB.
const mostFlows = 400_000

// fullConntrack has a client keep nine tenths of connection tracking and more full: its flows of UDP, which get no answer, are
// remembered for a minute, and it sends to each again before. With a shorter timeout fewer are there at once. The limit is the machine's.
func fullConntrack(t *testing.T, node string) (full fault, possible bool) {
	text, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_max")
	if err != nil {
		t.Fatal(err)
	}
	limit, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	flows := limit * 95 / 100
	if flows > mostFlows {
		t.Logf("nf_conntrack_max is %d: too many to fill", limit)
		return fault{}, false
	}
	keep := func(seconds int) func() error {
		return patched(fmt.Sprintf(`{"spec": {"conntrack": {"udpTimeoutSeconds": %d}}}`, seconds))
	}
	isKept := func() error {
		return labtest.Eventually(t.Context(), 2*time.Minute, func() error {
			out, err := inNode(node, "sysctl", "-n", "net.netfilter.nf_conntrack_udp_timeout")
			if err == nil && strings.TrimSpace(out) != "60" {
				err = fmt.Errorf("the timeout is %s", out)
			}
			return err
		})
	}
	return fault{"connection tracking has room", node + ": ", "or shorten its timeouts", together(keep(60), isKept, func() error { return sendTo(t, node, flows) }), keep(5)}, true
}

// sendTo has a client on a node send to that many addresses of the node again and again, until the test ends: at once, and then
// within 40 seconds.
func sendTo(t *testing.T, node string, flows int) error {
	var from, to *net.UDPConn
	err := network.Do(nsPath(node), func() (err error) {
		if to, err = net.ListenUDP("udp4", &net.UDPAddr{}); err == nil { // it reads nothing
			from, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		}
		return err
	})
	if err != nil {
		return err
	}
	port := uint16(to.LocalAddr().(*net.UDPAddr).Port)
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	t.Cleanup(func() {
		stop()
		<-stopped
		_, _ = from.Close(), to.Close() // nothing is lost
	})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for sent := 0; ctx.Err() == nil; sent++ {
			var address [4]byte
			binary.BigEndian.PutUint32(address[:], 127<<24|uint32(256+sent%flows))
			_, _ = from.WriteToUDPAddrPort(nil, netip.AddrPortFrom(netip.AddrFrom4(address), port)) // refused when it is full
			if sent > flows && sent%(flows/2000) == 0 {
				<-tick.C
			}
		}
	}()
	return nil
}
