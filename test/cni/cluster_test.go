// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package cni

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/test/lab/labtest"
	"github.com/fairlead-proxy/fairlead/test/lab/node"
	"github.com/fairlead-proxy/fairlead/test/robustness/traffic"
)

const echoPort = 9000

// place is where a connection comes from.
type place struct {
	netNS string
	// addresses are its own, one of each family.
	addresses []string
}

// host is the client outside, or a node.
func host(name string, addresses ...string) place {
	return place{netNS: filepath.Join("/run/netns", config.Prefix+name), addresses: addresses}
}

// newPod runs an echo server on a node and waits until it is ready.
func newPod(t *testing.T, namespace, name, nodeName, app string) place {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": app}},
		Spec: corev1.PodSpec{
			NodeName: nodeName, TerminationGracePeriodSeconds: ptr.To[int64](1),
			Containers: []corev1.Container{{
				Name: "echo", Image: "echo", Args: []string{"--tcp=:9000"},
				ReadinessProbe: &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{
					TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(echoPort)}}},
			}},
		},
	}
	if err := api.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	out := place{}
	err := eventually(t.Context(), func() error {
		if err := api.Get(t.Context(), client.ObjectKeyFromObject(pod), pod); err != nil {
			return err
		}
		if !labtest.IsReady(pod) {
			return fmt.Errorf("Pod %s is not ready: %+v", name, pod.Status.Conditions)
		}
		var err error
		out.netNS, err = node.PodNetNS(config.Cgroup(nodeName), string(pod.UID))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, ip := range pod.Status.PodIPs {
		out.addresses = append(out.addresses, ip.IP)
	}
	if len(out.addresses) != 2 {
		t.Fatalf("Pod %s has the addresses %v, want one of each family", name, out.addresses)
	}
	return out
}

// newService makes a Service of both families with node ports, and of one policy for all traffic.
func newService(t *testing.T, namespace, name string, local bool) *corev1.Service {
	t.Helper()
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeNodePort, Selector: map[string]string{"app": "echo"},
			IPFamilyPolicy: ptr.To(corev1.IPFamilyPolicyRequireDualStack),
			IPFamilies:     []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol},
			Ports:          []corev1.ServicePort{{Port: echoPort}},
		},
	}
	if local {
		service.Spec.InternalTrafficPolicy = ptr.To(corev1.ServiceInternalTrafficPolicyLocal)
		service.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	}
	if err := api.Create(t.Context(), service); err != nil {
		t.Fatal(err)
	}
	return service
}

// use has all nodes use a mode and a way to detect their Pods, and waits until they have programmed it.
func use(ctx context.Context, mode v1alpha1.ProxyMode, local v1alpha1.LocalTrafficOptions) error {
	return labtest.Use(ctx, api, patience, config.Nodes, mode, local)
}

// ask opens a connection and returns the Pod that answers, and the client's address that it sees.
func ask(from place, address string, port int32) (pod, source string, err error) {
	conversation, err := traffic.Dial(from.netNS, net.JoinHostPort(address, strconv.Itoa(int(port))))
	if err != nil {
		return "", "", err
	}
	defer conversation.Close()
	answer, err := conversation.Say()
	if err != nil {
		return "", "", err
	}
	// pod=NAME client=ADDRESS:PORT ...
	fields := strings.Fields(answer)
	if len(fields) < 2 {
		return "", "", fmt.Errorf("answer %q", answer)
	}
	source, _, err = net.SplitHostPort(strings.TrimPrefix(fields[1], "client="))
	return strings.TrimPrefix(fields[0], "pod="), source, err
}
