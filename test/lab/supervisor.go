// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/fairlead-proxy/fairlead/test/lab/addons"
	"github.com/fairlead-proxy/fairlead/test/lab/network"
)

const (
	// startTime is how long any one part may take to be ready. A busy machine
	// needs a minute for what takes seconds otherwise.
	startTime = 3 * time.Minute
	// stopTime is how long the nodes may take to end.
	stopTime = 3 * time.Second
	// emulated is by how much a node may be slower that is a virtual machine without acceleration.
	emulated = 4
	// pollTime is the pause between two looks at something that is starting.
	pollTime = 50 * time.Millisecond
)

// supervisor owns a running lab.
type supervisor struct {
	config   Config
	report   func(string)
	topology *network.Topology

	credentials *credentials
	admin       *rest.Config
	client      kubernetes.Interface
	control     *controlPlane
	ready       atomic.Bool

	background sync.WaitGroup
	fail       context.CancelCauseFunc
}

// Run starts a lab, runs it until ctx ends or a part of it fails for good, and
// takes it down. It reports the steps of the start, and calls ready after the
// last. The caller holds the lock; the log files stay.
func Run(ctx context.Context, config Config, report func(string), ready func()) error {
	// life ends with ctx, or with the first part that fails, which is its cause.
	life, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	// The Pods end before the control plane, so that they can say so.
	controlContext, stopControl := context.WithCancel(context.WithoutCancel(ctx))
	defer stopControl()
	nodesContext, stopNodes := context.WithCancel(controlContext)
	defer stopNodes()

	s := &supervisor{config: config, report: report, topology: config.Topology(), fail: fail}
	launcher := newLauncher()
	s.control = &controlPlane{
		config: config, netnsPath: s.topology.Control.NetNSPath, launcher: launcher,
		fail: fail, changed: s.writeState,
	}
	err := s.start(life, controlContext, nodesContext)
	if err == nil {
		ready()
		<-life.Done()
	}
	if ctx.Err() == nil && life.Err() != nil {
		err = context.Cause(life)
	}

	stopNodes()
	s.waitBackground()
	stopControl()
	s.control.running.Wait()
	launcher.close()
	return errors.Join(err, Sweep(config))
}

// start brings up one part after the other.
func (s *supervisor) start(ctx, control, nodes context.Context) error {
	if err := s.topology.Build(); err != nil {
		return fmt.Errorf("network: %w", err)
	}
	s.report(fmt.Sprintf("network of %d nodes", len(s.topology.Nodes)))
	if err := s.startControlPlane(ctx, control, nodes); err != nil {
		return err
	}
	if err := s.serveImages(nodes); err != nil {
		return err
	}
	for number, node := range s.topology.Nodes {
		if err := createNode(ctx, s.client, node, number); err != nil {
			return err
		}
		run := s.runNode
		if node.VM {
			run = s.runVM
		}
		s.inBackground(node.Name, func() error { return run(nodes, node) })
	}
	if s.config.CNI != "" {
		if err := addons.ApplyCNI(ctx, s.admin, s.config.CNI); err != nil {
			return fmt.Errorf("CNI plugin: %w", err)
		}
		s.report("CNI plugin " + s.config.CNI + " is applied")
	}
	err := s.await(ctx, "nodes", func(ctx context.Context) error {
		return nodesReady(ctx, s.client, len(s.topology.Nodes))
	})
	if err != nil {
		return err
	}
	s.report("nodes are ready")
	// Not earlier, or the first node that is ready would get all of it.
	if err := addons.Apply(ctx, s.admin); err != nil {
		return fmt.Errorf("add-ons: %w", err)
	}
	s.report("cluster DNS is scheduled")
	err = s.await(ctx, "the default service account", func(ctx context.Context) error {
		// Without it the apiserver refuses Pods.
		_, err := s.client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
	if err != nil {
		return err
	}
	s.ready.Store(true)
	return s.writeState(s.control.snapshot())
}

func (s *supervisor) startControlPlane(ctx, control, nodes context.Context) error {
	host := s.topology.Control
	var err error
	if s.credentials, err = writeCredentials(s.config, host); err != nil {
		return err
	}
	if err := s.openTunnel(nodes); err != nil {
		return err
	}
	s.admin = s.credentials.restConfig(s.credentials.admin, host.NetNSPath)
	if s.client, err = kubernetes.NewForConfig(s.admin); err != nil {
		return fmt.Errorf("client: %w", err)
	}
	starting := func() bool { return !s.ready.Load() }
	s.control.start(control, etcd(s.config), starting)
	err = s.await(ctx, "etcd", func(ctx context.Context) error { return s.etcdHealthy(ctx) })
	if err != nil {
		return err
	}
	s.report("etcd is ready")
	s.control.start(control, apiserver(s.config, host), starting)
	err = s.await(ctx, "kube-apiserver", func(ctx context.Context) error {
		return s.client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	})
	if err != nil {
		return err
	}
	s.report("kube-apiserver is ready")
	s.control.start(control, controllerManager(s.config), starting)
	s.control.start(control, scheduler(s.config), starting)
	return nil
}

// openTunnel makes the apiserver reachable from the host.
func (s *supervisor) openTunnel(ctx context.Context) error {
	host := s.topology.Control
	tunnel, err := newTunnel(host.NetNSPath, net.JoinHostPort(host.IPv4.String(), apiserverPort))
	if err != nil {
		return err
	}
	s.inBackground("tunnel to the apiserver", func() error { return tunnel.serve(ctx) })
	return s.credentials.writeKubeconfig(s.config.Kubeconfig(), "https://"+tunnel.address(), s.credentials.admin)
}

func (s *supervisor) etcdHealthy(ctx context.Context) error {
	transport := &http.Transport{DialContext: network.DialContext(s.topology.Control.NetNSPath), DisableKeepAlives: true}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, etcdURL+"/health", nil)
	if err != nil {
		return err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("etcd answers %s: %s", response.Status, body)
	}
	return err
}

// await polls until check succeeds.
func (s *supervisor) await(ctx context.Context, what string, check func(context.Context) error) error {
	patience := startTime
	if s.config.VM != "" {
		patience *= emulated
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := poll(ctx, pollTime, func() error { return check(ctx) }); err != nil {
		return fmt.Errorf("waiting for %s: %w", what, err)
	}
	return nil
}

// inBackground runs a part of the lab. It fails when the part does.
func (s *supervisor) inBackground(what string, run func() error) {
	s.background.Go(func() {
		if err := run(); err != nil {
			s.fail(fmt.Errorf("%s: %w", what, err))
		}
	})
}

// waitBackground waits a little: what does not end is swept.
func (s *supervisor) waitBackground() {
	done := make(chan struct{})
	go func() {
		s.background.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(stopTime):
	}
}

func (s *supervisor) writeState(components []ComponentState) error {
	return s.config.WriteState(State{
		Config: s.config, PID: os.Getpid(), Ready: s.ready.Load(), Components: components,
	})
}
