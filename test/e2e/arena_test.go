// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/test/robustness/checker"
	"github.com/fairlead-proxy/fairlead/test/robustness/history"
	"github.com/fairlead-proxy/fairlead/test/robustness/traffic"
)

const (
	// arenaRate is the number of new connections a second.
	arenaRate = 500
	// lag is how long an agent may take to follow a change, on a busy machine.
	lag = 5 * time.Second
	// podGrace is how long a deleted Pod goes on serving. Nothing else than that makes a
	// removal safe, in any cluster: it covers the times when agents cannot see changes, such as
	// the 17 s until another controller leads.
	podGrace = 30 * time.Second
)

// source is where connections from a node, or from the client outside, start.
func source(name string) traffic.Source {
	s := traffic.Source{Name: name, NetNSPath: nsPath(name), Node: name}
	if name == "client" {
		s.Node = "node-1" // to which the router sends packets for the Service ranges
	}
	return s
}

// clusterIP is one of the cluster IPs of a Service, with one of its ports.
func clusterIP(svc *corev1.Service, family, port int) traffic.Target {
	to := traffic.Target{Service: svc.Name, Family: corev1.IPv4Protocol, Protocol: svc.Spec.Ports[port].Protocol}
	if net.ParseIP(svc.Spec.ClusterIPs[family]).To4() == nil {
		to.Family = corev1.IPv6Protocol
	}
	to.Address = net.JoinHostPort(svc.Spec.ClusterIPs[family], strconv.Itoa(int(svc.Spec.Ports[port].Port)))
	return to
}

// nodePort is a node port of a Service.
func nodePort(svc *corev1.Service, node, address string, port int) traffic.Target {
	to := clusterIP(svc, 0, port)
	to.Node, to.Address = node, net.JoinHostPort(address, strconv.Itoa(int(svc.Spec.Ports[port].NodePort)))
	return to
}

// arena is a namespace with Services whose endpoints change, under traffic.
//
//   - "all" has the Pods of two Deployments, one is scaled and one restarted all the time
//   - "switch" selects the Pods of one or the other Deployment: a connection to the wrong one
//     is answered, and so seen
//   - "empty" selects the Pods of a Deployment or none
type arena struct {
	namespace string
	history   *history.History
	running   *traffic.Generator
	changes   *changes
	strikes   []checker.Strike // of this and of earlier rounds
	total     checker.Counts
}

func newArena(t *testing.T) *arena {
	t.Helper()
	a := &arena{namespace: newNamespace(t), history: &history.History{}, total: checker.Counts{}}
	a.deploy(t, "a", 3)
	a.deploy(t, "b", 2)
	all := a.serve(t, "all", map[string]string{"arena": "all"})
	either := a.serve(t, "switch", map[string]string{"app": "a"})
	empty := a.serve(t, "empty", map[string]string{"app": "b"})
	load := traffic.Load{Rate: arenaRate, Streams: 1, Flows: 1, Targets: []traffic.Target{
		clusterIP(all, 0, 0), clusterIP(all, 1, 0), nodePort(all, "node-2", "10.89.0.12", 0), nodePort(all, "node-3", "10.89.0.13", 0),
		clusterIP(either, 0, 0), clusterIP(either, 1, 0), clusterIP(empty, 0, 0),
		clusterIP(all, 0, 1), clusterIP(either, 1, 1), nodePort(all, "node-2", "10.89.0.12", 1),
	}}
	for _, name := range append([]string{"client"}, labNodes...) {
		load.Sources = append(load.Sources, source(name))
	}
	ctx, stop := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	watching.Go(func() { a.history.Watch(ctx, api, a.namespace, podGrace) })
	t.Cleanup(func() { stop(); watching.Wait() })
	for _, to := range load.Targets {
		key := history.Key{Service: to.Service, Family: to.Family}
		eventually(t, time.Minute, func() error {
			if now := time.Now(); a.history.Empty(key, now, now) {
				return fmt.Errorf("%v has no endpoints", key)
			}
			return nil
		})
		for _, from := range load.Sources {
			if to.Protocol == corev1.ProtocolTCP {
				eventually(t, time.Minute, func() error { return traffic.Ask(from.NetNSPath, to.Address) })
			}
		}
	}
	t.Cleanup(func() {
		if err := patchMode(v1alpha1.ModeNFTables); err != nil { // a nemesis may have failed halfway
			t.Error(err)
		}
	})
	a.changes = &changes{namespace: a.namespace}
	t.Cleanup(a.changes.stop)
	a.running = traffic.Start(load)
	t.Cleanup(a.running.Stop)
	return a
}

// deploy creates a Deployment of echo servers that go on serving for podGrace.
func (a *arena) deploy(t *testing.T, name string, replicas int32) {
	t.Helper()
	labels := map[string]string{"app": name}
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: name}}
	d.Spec.Replicas, d.Spec.Selector = &replicas, &metav1.LabelSelector{MatchLabels: labels}
	d.Spec.Template = corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": name, "arena": "all"}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: ptr.To(int64(podGrace.Seconds()) + 5),
			Containers: []corev1.Container{{
				Name: "echo", Image: "echo", Args: []string{"--http=", "--tcp=:9000", "--udp=:9000"},
				ReadinessProbe: &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{
					TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(echoPort)}}},
				Lifecycle: &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{
					Sleep: &corev1.SleepAction{Seconds: int64(podGrace.Seconds())}}},
			}},
		},
	}
	if err := api.Create(t.Context(), d); err != nil {
		t.Fatal(err)
	}
}

func (a *arena) serve(t *testing.T, name string, selector map[string]string) *corev1.Service {
	t.Helper()
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: name}}
	svc.Spec = corev1.ServiceSpec{
		Type: corev1.ServiceTypeNodePort, Selector: selector, IPFamilyPolicy: ptr.To(corev1.IPFamilyPolicyRequireDualStack),
		Ports: []corev1.ServicePort{
			{Name: "tcp", Port: echoPort, Protocol: corev1.ProtocolTCP}, {Name: "udp", Port: echoPort, Protocol: corev1.ProtocolUDP}},
	}
	if err := api.Create(t.Context(), svc); err != nil {
		t.Fatal(err)
	}
	return svc
}

// changes changes the endpoints of an arena.
type changes struct {
	namespace string

	cancel   context.CancelFunc
	done     sync.WaitGroup
	restarts int
}

// start begins to change, until stop.
func (c *changes) start(seed uint64) {
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	r := rand.New(rand.NewPCG(seed, 1))
	c.done.Go(func() {
		for ctx.Err() == nil {
			// The apiserver may be the one that is struck.
			_ = c.change(r)
			select {
			case <-ctx.Done():
			case <-time.After(200*time.Millisecond + time.Duration(r.Int64N(int64(3*time.Second)))):
			}
		}
	})
}

func (c *changes) stop() {
	if c.cancel != nil {
		c.cancel()
	}
	c.done.Wait()
}

func (c *changes) change(r *rand.Rand) error {
	choice := []string{"a", "b"}[r.IntN(2)]
	switch r.IntN(8) {
	case 0, 1:
		return c.patch(&appsv1.Deployment{}, "a", fmt.Sprintf(`{"spec":{"replicas":%d}}`, 2+r.IntN(4)))
	case 2:
		c.restarts++
		return c.patch(&appsv1.Deployment{}, "b",
			fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{"restart":"%d"}}}}}`, c.restarts))
	case 3:
		return errors.Join(c.patch(&corev1.Service{}, "empty", `{"spec":{"selector":{"app":"none"}}}`),
			c.patch(&corev1.Service{}, "switch", fmt.Sprintf(`{"spec":{"selector":{"app":%q}}}`, choice)))
	case 4, 5:
		return c.patch(&corev1.Service{}, "empty", fmt.Sprintf(`{"spec":{"selector":{"app":%q}}}`, choice))
	default:
		return c.patch(&corev1.Service{}, "switch", fmt.Sprintf(`{"spec":{"selector":{"app":%q}}}`, choice))
	}
}

func (c *changes) patch(obj client.Object, name, patch string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	obj.SetNamespace(c.namespace)
	obj.SetName(name)
	return api.Patch(ctx, obj, client.RawPatch(types.MergePatchType, []byte(patch)))
}
