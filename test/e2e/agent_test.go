// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/fairlead-proxy/fairlead/test/robustness/traffic"
)

// kills is how often the agent is killed.
const kills = 20

// TestKilledAgent kills an agent at random moments, also while it starts and while
// it programs changes. Open connections must survive, new ones must be answered, and
// the kernel must have the desired rules each time.
func TestKilledAgent(t *testing.T) {
	const node = "node-1"
	namespace := newNamespace(t)
	service := newEcho(t, namespace, 3, func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeNodePort })
	vip, nodePort := service.Spec.ClusterIP, service.Spec.Ports[0].NodePort
	open := map[string]*traffic.Conversation{}
	for name, target := range map[string]struct {
		from, address string
		port          int32
	}{
		"from the node":              {node, vip, echoPort},
		"from outside, by node port": {"client", "10.89.0.11", nodePort},
	} {
		c, err := dial(target.from, target.address, target.port)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		defer c.Close()
		open[name] = c
	}
	churning := newChurn(t, namespace)
	for i := range kills {
		stop := churning.start()
		pid := killAgent(t, node)
		for name, c := range open {
			if _, err := c.Say(); err != nil {
				t.Fatalf("kill %d: the open connection %s broke: %v", i, name, err)
			}
		}
		if err := ask(node, vip, echoPort); err != nil {
			t.Fatalf("kill %d: a new connection without an agent: %v", i, err)
		}
		eventually(t, time.Minute, func() error {
			again, err := agentPID(node)
			if err == nil && again == pid {
				err = fmt.Errorf("process %d still runs", pid)
			}
			return err
		})
		if i%2 == 0 {
			stop()
			wantKernel(t, node)
		}
		stop()
	}
	wantKernel(t, node)
	for name, c := range open {
		if _, err := c.Say(); err != nil {
			t.Errorf("the open connection %s broke: %v", name, err)
		}
	}
}

// killAgent kills a node's agent after a random moment and returns its process.
func killAgent(t *testing.T, node string) (pid int) {
	t.Helper()
	eventually(t, time.Minute, func() (err error) {
		pid, err = agentPID(node)
		return err
	})
	time.Sleep(rand.N(400 * time.Millisecond)) // a random moment, not a state to wait for
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	return pid
}

// churn continuously changes the endpoints of a Service.
type churn struct {
	t     *testing.T
	slice *discoveryv1.EndpointSlice
}

func newChurn(t *testing.T, namespace string) *churn {
	t.Helper()
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "churn"},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
	}
	if err := api.Create(t.Context(), service); err != nil {
		t.Fatal(err)
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "churn-1",
			Labels: map[string]string{discoveryv1.LabelServiceName: "churn", discoveryv1.LabelManagedBy: "e2e"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("http"), Port: ptr.To[int32](80), Protocol: ptr.To(corev1.ProtocolTCP)}},
	}
	if err := api.Create(t.Context(), slice); err != nil {
		t.Fatal(err)
	}
	return &churn{t: t, slice: slice}
}

// start changes the slice until the returned function is called. A change is
// never interrupted: it could take effect later.
func (c *churn) start() (stop func()) {
	var stopping atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !stopping.Load() {
			c.slice.Endpoints = nil
			for range 1 + rand.IntN(20) {
				address := fmt.Sprintf("10.244.9.%d", 1+rand.IntN(250))
				c.slice.Endpoints = append(c.slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{address}})
			}
			if err := api.Update(c.t.Context(), c.slice); err != nil {
				c.t.Errorf("change the endpoints: %v", err)
				return
			}
		}
	}()
	return func() { stopping.Store(true); <-done }
}
