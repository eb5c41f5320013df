// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package upgrade

import (
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/test/lab/labtest"
	"github.com/fairlead-proxy/fairlead/test/lab/node"
	"github.com/fairlead-proxy/fairlead/test/robustness/traffic"
)

const (
	echoPort = 9000
	// rate is the number of new connections a second. It is a bound, and 200 are what counts.
	rate = 220
	// podGrace is how long a deleted Pod goes on serving: no proxy sees its end at once.
	podGrace = 15
)

// arena is a namespace with two Services under connections: "steady", whose Pods stay, also has long ones; the Pods of
// "changing" are scaled.
type arena struct {
	namespace string
	sources   []traffic.Source
	steady    []traffic.Target
	changing  []traffic.Target
	short     *traffic.Generator
	long      *traffic.Generator
	phase     phase
}

func newArena(t *testing.T) *arena {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "upgrade"}}
	if err := api.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	a := &arena{namespace: ns.Name}
	a.deploy(t, "steady", 3)
	a.deploy(t, "changing", 2)
	a.steady, a.changing = a.serve(t, "steady"), a.serve(t, "changing")
	for _, name := range []string{"client", "node-1", "node-2", "node-3"} {
		s := traffic.Source{Name: name, NetNSPath: filepath.Join("/run/netns", config.Prefix+name), Node: name}
		if name == "client" {
			s.Node = "node-1" // to which the router sends packets for the Service ranges
		}
		a.sources = append(a.sources, s)
	}
	a.sources = append(a.sources, a.clientPod(t))
	for _, from := range a.sources {
		for _, to := range slices.Concat(a.steady, a.changing) {
			eventually(t, func() error { return traffic.Ask(from.NetNSPath, to.Address) })
		}
	}
	a.start()
	t.Cleanup(func() { a.short.Stop(); a.long.Stop() })
	return a
}

func (a *arena) start() {
	a.short = traffic.Start(traffic.Load{Sources: a.sources, Targets: slices.Concat(a.steady, a.changing), Rate: rate})
	a.long = traffic.Start(traffic.Load{Sources: a.sources, Targets: a.steady, Streams: 1})
}

func echoPod(app string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: ptr.To[int64](podGrace + 5),
			Containers: []corev1.Container{{
				Name: "echo", Image: "echo", Args: []string{"--http=", "--tcp=:9000", "--udp="},
				ReadinessProbe: &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{
					TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(echoPort)}}},
				Lifecycle: &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: podGrace}}},
			}},
		},
	}
}

func (a *arena) deploy(t *testing.T, name string, replicas int32) {
	t.Helper()
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}, Template: echoPod(name)},
	}
	if err := api.Create(t.Context(), d); err != nil {
		t.Fatal(err)
	}
}

// serve makes a Service of a Deployment, and returns its addresses: the cluster IPs, and a node port, of both families.
func (a *arena) serve(t *testing.T, name string) (out []traffic.Target) {
	t.Helper()
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: name},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeNodePort, Selector: map[string]string{"app": name},
			IPFamilyPolicy: ptr.To(corev1.IPFamilyPolicyRequireDualStack),
			IPFamilies:     []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol},
			Ports:          []corev1.ServicePort{{Port: echoPort}},
		},
	}
	if err := api.Create(t.Context(), svc); err != nil {
		t.Fatal(err)
	}
	for i, family := range svc.Spec.IPFamilies {
		to := traffic.Target{Service: name, Family: family, Protocol: corev1.ProtocolTCP,
			Address: net.JoinHostPort(svc.Spec.ClusterIPs[i], strconv.Itoa(echoPort))}
		out = append(out, to)
		to.Node = []string{"node-2", "node-3"}[i]
		to.Address = net.JoinHostPort([]string{"10.89.0.12", "fd00:89::13"}[i], strconv.Itoa(int(svc.Spec.Ports[0].NodePort)))
		out = append(out, to)
	}
	return out
}

// clientPod runs a Pod from which connections start.
func (a *arena) clientPod(t *testing.T) traffic.Source {
	t.Helper()
	template := echoPod("client")
	pod := &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
	pod.Namespace, pod.Name, pod.Spec.NodeName = a.namespace, "client", "node-2"
	if err := api.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	source := traffic.Source{Name: "pod", Node: pod.Spec.NodeName}
	eventually(t, func() error {
		if err := api.Get(t.Context(), client.ObjectKeyFromObject(pod), pod); err != nil {
			return err
		}
		if !labtest.IsReady(pod) {
			return fmt.Errorf("the client's Pod is not ready: %+v", pod.Status.Conditions)
		}
		var err error
		source.NetNSPath, err = node.PodNetNS(config.Cgroup(source.Node), string(pod.UID))
		return err
	})
	return source
}

// scale changes the endpoints of "changing", and waits until every node uses those in both families, and no other.
func (a *arena) scale(t *testing.T, replicas int) {
	t.Helper()
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: "changing"}}
	patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas)
	if err := api.Patch(t.Context(), d, client.RawPatch(types.MergePatchType, patch)); err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{}
	eventually(t, func() error {
		var pods corev1.PodList
		if err := api.List(t.Context(), &pods, client.InNamespace(a.namespace), client.MatchingLabels{"app": "changing"}); err != nil {
			return err
		}
		clear(want)
		for _, pod := range pods.Items {
			if pod.DeletionTimestamp == nil && labtest.IsReady(&pod) {
				want[pod.Name] = true
			}
		}
		if len(want) != replicas {
			return fmt.Errorf("%d of %d Pods are ready", len(want), replicas)
		}
		return nil
	})
	a.take(t)
	seen := a.phase.newest
	clear(seen)
	eventually(t, func() error {
		a.take(t)
		for _, via := range []string{"node-1", "node-2", "node-3"} {
			for _, family := range []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol} {
				got := map[string]bool{}
				for _, pod := range seen[way{via, family}] {
					got[pod] = true
				}
				if len(seen[way{via, family}]) < recent || !maps.Equal(want, got) {
					return fmt.Errorf("%s connects %s to %v, want %v", via, family, seen[way{via, family}], want)
				}
			}
		}
		return nil
	})
}
