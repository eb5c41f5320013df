// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/test/lab/labtest"
	"github.com/fairlead-proxy/fairlead/test/lab/network"
)

// TestAgentCrashes lets a node's agent crash again and again. After a minute the ProxyConfig
// names the node, with since when; it no longer does when the agent runs.
func TestAgentCrashes(t *testing.T) {
	const node = "node-2"
	notReady := func() (v1alpha1.ProxyConfigStatus, string, error) {
		var config v1alpha1.ProxyConfig
		if err := api.Get(t.Context(), client.ObjectKey{Name: "default"}, &config); err != nil {
			return config.Status, "", err
		}
		c := apimeta.FindStatusCondition(config.Status.Conditions, v1alpha1.ConditionDegraded)
		if config.Status.Nodes == nil || c == nil {
			return config.Status, "", errors.New("the ProxyConfig has no status")
		}
		return config.Status, string(c.Status) + " " + c.Message, nil
	}
	const silent = "The agent does not report on 1 node: " + node + " since "
	running := func() error {
		status, degraded, err := notReady()
		if err == nil && (status.Nodes.NotReady != 0 || strings.Contains(degraded, node+" since")) {
			err = fmt.Errorf("%+v: %s", status, degraded)
		}
		return errors.Join(err, podReady(t.Context(), node))
	}
	eventually(t, 2*time.Minute, running)
	service := newEcho(t, newNamespace(t), 2)

	begin := time.Now()
	stop := crash(t, node)
	eventually(t, 3*time.Minute, func() error {
		status, degraded, err := notReady()
		switch {
		case err != nil:
			return err
		case status.Nodes.NotReady != 1 || !strings.HasPrefix(degraded, "True ") || !strings.Contains(degraded, silent):
			return fmt.Errorf("%+v: %s", status, degraded)
		case podReady(t.Context(), node) == nil:
			return errors.New("the agent's Pod is ready")
		}
		since := status.NotReadyNodes[0].Since.Time
		if since.After(begin.Add(5*time.Second)) || since.Before(begin.Add(-time.Minute)) {
			t.Errorf("since %s, want the last heartbeat before %s", since, begin)
		}
		return nil
	})
	if err := ask(node, service.Spec.ClusterIP, echoPort); err != nil {
		t.Errorf("a new connection without an agent: %v", err)
	}
	stop()
	eventually(t, 3*time.Minute, running)
}

// crash kills a node's agent whenever there is one, until the returned function is called.
func crash(t *testing.T, node string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if pid, err := agentPID(node); err == nil {
				_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
			}
			time.Sleep(100 * time.Millisecond) // between crashes
		}
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

// podReady checks that the Pod of a node's agent is ready.
func podReady(ctx context.Context, node string) error {
	var pods corev1.PodList
	err := api.List(ctx, &pods, client.InNamespace("fairlead-system"), client.MatchingLabels{"app.kubernetes.io/component": "agent"})
	if err != nil {
		return err
	}
	for i := range pods.Items {
		if pods.Items[i].Spec.NodeName == node && labtest.IsReady(&pods.Items[i]) {
			return nil
		}
	}
	return fmt.Errorf("no agent is ready on %s", node)
}

// TestPortsHeld starts an agent where another program, which answers as kube-proxy does, has its
// ports: it programs the node and says so, and takes the ports when they are free.
func TestPortsHeld(t *testing.T) {
	const node, healthz, metrics = "node-2", "0.0.0.0:10256", "127.0.0.1:10249"
	held := map[string]net.Listener{}
	defer func() {
		for _, l := range held {
			l.Close()
		}
	}()
	eventually(t, time.Minute, func() error {
		if pid, err := agentPID(node); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		}
		for _, address := range []string{healthz, metrics} {
			if held[address] == nil {
				l, err := network.Listen(nsPath(node), address)
				if err != nil {
					return err
				}
				held[address] = l
				go func() { _ = http.Serve(l, http.HandlerFunc(iptablesMode)) }()
			}
		}
		return nil
	})
	begin := time.Now()
	degraded := func() (string, error) {
		var set v1alpha1.NodeRuleSet
		if err := api.Get(t.Context(), client.ObjectKey{Name: node}, &set); err != nil {
			return "", err
		}
		if !apimeta.IsStatusConditionTrue(set.Status.Conditions, v1alpha1.ConditionProgrammed) {
			return "", errors.New("not programmed")
		}
		if k := set.Status.KubeProxy; k == nil || !k.Running || k.Mode != v1alpha1.KubeProxyIPTables {
			return "", fmt.Errorf("the agent finds as kube-proxy %+v", k)
		}
		return apimeta.FindStatusCondition(set.Status.Conditions, v1alpha1.ConditionDegraded).Message, nil
	}
	eventually(t, time.Minute, func() error {
		message, err := degraded()
		if err == nil && (!strings.Contains(message, healthz) || !strings.Contains(message, metrics)) {
			err = fmt.Errorf("degraded: %q", message)
		}
		return errors.Join(err, podReady(t.Context(), node))
	})
	t.Logf("ready beside the other program after %s", time.Since(begin))
	for _, l := range held {
		l.Close()
	}
	eventually(t, time.Minute, func() error {
		message, err := degraded() // the agent looks for kube-proxy again after a minute
		if err == nil && (strings.Contains(message, healthz) || strings.Contains(message, metrics)) {
			err = fmt.Errorf("degraded: %q", message)
		}
		_, statusErr := agentStatus(node)
		return errors.Join(err, statusErr, healthy(node))
	})
}

// iptablesMode answers as a kube-proxy in the mode iptables.
func iptablesMode(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/proxyMode" {
		http.NotFound(w, r)
		return
	}
	_, _ = io.WriteString(w, "iptables")
}

// healthy asks a node as a load balancer does.
func healthy(node string) error {
	web := &http.Client{Timeout: 2 * time.Second,
		Transport: &http.Transport{DialContext: network.DialContext(nsPath(node)), DisableKeepAlives: true}}
	answer, err := web.Get("http://127.0.0.1:10256/healthz")
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return errors.New(answer.Status)
	}
	return nil
}
