// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// fairleadAgent is the agent as a contender.
type fairleadAgent struct {
	cluster
	program, dir string
	api          *apiserver
	process      *process
}

func newAgent(ctx context.Context, c cluster, program, dir string) (*fairleadAgent, error) {
	api, err := startAPIServer(ctx, c)
	return &fairleadAgent{cluster: c, program: program, dir: dir, api: api}, err
}

func (a *fairleadAgent) start(ctx context.Context) (p *process, err error) {
	a.process, err = start(ctx, a.program, a.dir, a.api)
	return a.process, err
}

func (a *fairleadAgent) started(ctx context.Context) (agentStart, error) {
	return a.process.started(ctx, a.cluster)
}

func (a *fairleadAgent) change(ctx context.Context, service, version int) error {
	s, err := a.slice(service, version)
	if err != nil {
		return err
	}
	return a.api.change(ctx, s)
}

func (a *fairleadAgent) rest(context.Context, time.Time) error {
	time.Sleep(quiet)
	return nil
}

func (a *fairleadAgent) close() error { return a.api.close() }

// kubeProxy is kube-proxy as a contender, with a fake apiserver for what it uses.
type kubeProxy struct {
	cluster
	program, dir string
	path         string // its PATH; empty: the default
	server       http.Server
	listener     net.Listener
	changed      chan []byte // to the watch of EndpointSlices
	process      *process
}

func newKubeProxy(ctx context.Context, c cluster, program, dir string) (*kubeProxy, error) {
	k := &kubeProxy{cluster: c, program: program, dir: dir, changed: make(chan []byte)}
	node := &corev1.Node{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
		ObjectMeta: metav1.ObjectMeta{Name: nodeName, ResourceVersion: "1"},
		Spec:       corev1.NodeSpec{PodCIDR: "10.128.0.0/24", PodCIDRs: []string{"10.128.0.0/24"}},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: nodeAddress}}}}
	nodes, err := event("ADDED", node)
	if err != nil {
		return nil, err
	}
	var services, slices bytes.Buffer
	for i := range c.services {
		svc := c.service(i)
		svc.TypeMeta, svc.ResourceVersion = metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, "1"
		one, err := event("ADDED", svc)
		if err != nil {
			return nil, err
		}
		services.Write(one)
		if one, err = k.slice("ADDED", i, 0); err != nil {
			return nil, err
		}
		slices.Write(one)
	}
	stream := func(apiVersion, kind string, all []byte, changed <-chan []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			stream(ctx, w, r, metav1.TypeMeta{APIVersion: apiVersion, Kind: kind}, all, changed)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/nodes", stream("v1", "Node", nodes, nil))
	mux.HandleFunc("GET /api/v1/nodes/"+nodeName, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(node) // the client retries
	})
	mux.HandleFunc("GET /api/v1/services", stream("v1", "Service", services.Bytes(), nil))
	mux.HandleFunc("GET /apis/discovery.k8s.io/v1/endpointslices", stream("discovery.k8s.io/v1", "EndpointSlice", slices.Bytes(), k.changed))
	mux.HandleFunc("GET /apis/networking.k8s.io/v1/servicecidrs", stream("networking.k8s.io/v1", "ServiceCIDR", nil, nil))
	k.server.Handler = mux
	if k.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	go func() { _ = k.server.Serve(k.listener) }() // ends with close
	return k, nil
}

// slice is the event of an EndpointSlice.
func (k *kubeProxy) slice(kind string, service, version int) ([]byte, error) {
	s := k.endpoints(service, version, endpointsEach)
	s.TypeMeta = metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"}
	s.ResourceVersion = fmt.Sprint(1 + version)
	return event(kind, s)
}

func (k *kubeProxy) start(ctx context.Context) (*process, error) {
	file := func(name string) string { return filepath.Join(k.dir, name) }
	if err := writeKubeconfig(file("kubeconfig"), "http://"+k.listener.Addr().String()); err != nil {
		return nil, err
	}
	// The defaults, except for conntrack limits: a network namespace cannot set them.
	config, err := json.Marshal(map[string]any{
		"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
		"mode": strings.ToLower(string(k.mode)), "hostnameOverride": nodeName, "detectLocalMode": "ClusterCIDR", "clusterCIDR": "10.128.0.0/9",
		"clientConnection": map[string]any{
			"kubeconfig": file("kubeconfig"), "contentType": "application/json", "acceptContentTypes": "application/json",
		},
		"healthzBindAddress": "127.0.0.1:10256", "metricsBindAddress": metricsAddress,
		"conntrack": map[string]any{"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
	})
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(file("config.yaml"), config, 0o600); err != nil {
		return nil, err
	}
	log, err := os.Create(file("log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.CommandContext(ctx, k.program, "--config", file("config.yaml"))
	cmd.Stdout, cmd.Stderr = log, log
	if k.path != "" {
		cmd.Env = append(os.Environ(), "PATH="+k.path)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	k.process = &process{cmd: cmd, begun: time.Now()}
	return k.process, cmd.Start()
}

func (k *kubeProxy) started(ctx context.Context) (s agentStart, err error) {
	if err := k.synced(ctx, k.process.begun); err != nil {
		return s, err
	}
	s.Took = time.Since(k.process.begun)
	if s.CPU, err = k.process.cpu(); err != nil {
		return s, err
	}
	time.Sleep(settling)
	s.RSS, s.Peak, err = k.process.memory()
	return s, err
}

// lastSync is the metric with the time of the last sync.
const lastSync = `kubeproxy_sync_proxy_rules_last_timestamp_seconds`

// synced waits until a sync has ended after a given time.
func (k *kubeProxy) synced(ctx context.Context, since time.Time) error {
	for {
		values, err := metrics(ctx) // an error: it is not listening yet
		for name, value := range values {
			if strings.HasPrefix(name, lastSync) && !strings.Contains(name, "IPv6") && value > float64(since.UnixNano())/1e9 {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			log, _ := os.ReadFile(filepath.Join(k.dir, "log")) // may be missing
			return fmt.Errorf("kube-proxy does not sync: %w\n%s", errors.Join(ctx.Err(), err), log[max(0, len(log)-2000):])
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (k *kubeProxy) change(ctx context.Context, service, version int) error {
	e, err := k.slice("MODIFIED", service, version)
	if err != nil {
		return err
	}
	select {
	case k.changed <- e:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// minSyncPeriod is kube-proxy's minimum time between two syncs.
const minSyncPeriod = time.Second

func (k *kubeProxy) rest(ctx context.Context, since time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Minute)
	defer cancel()
	err := k.synced(ctx, since)
	time.Sleep(minSyncPeriod + quiet)
	return err
}

func (k *kubeProxy) close() error { return k.server.Close() }
