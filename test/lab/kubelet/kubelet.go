// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kubelet is the lab's kubelet: it runs the Pods of one node, without
// images and without a container runtime.
//
// A Pod is a network namespace, made by the lab's network, with processes in it
// that run the host's own programs (package container). Towards the apiserver it
// is a real kubelet: it acts under the node's identity with what the Node
// authorizer allows, keeps the Node's status and Lease, follows the Pods bound
// to the node, mounts their volumes and tokens, probes them, restarts and
// terminates them, and serves their logs and commands at port 10250.
//
// A container's files are at pods/UID/containers/NAME below the state folder:
// its logs, and pid, the number of its first process on the host.
//
// Left out: resource limits, PersistentVolumes, ephemeral containers, hostPID
// and hostIPC, attaching, changing the image of a running Pod, the environment
// variables of Services other than kubernetes. What a Pod asks for in vain is
// said in its status or in an event.
package kubelet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedv1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"

	"github.com/fairlead-proxy/fairlead/test/lab/images"
	"github.com/fairlead-proxy/fairlead/test/lab/kubelet/container"
	"github.com/fairlead-proxy/fairlead/test/lab/network"
)

// Port is where the kubelet serves logs and commands, in the node's network.
const Port = 10250

// Network gives Pods their network namespaces.
type Network interface {
	AddPod(node network.Node, id string) (network.PodNet, error)
	DelPod(node network.Node, id string) error
}

// Images maps image names to programs.
type Images interface {
	Lookup(name string) (images.Image, error)
}

// Config is what a kubelet needs to know.
type Config struct {
	// Node is the machine it runs: its Node object has the same name.
	Node    network.Node
	Network Network
	// RestConfig reaches the apiserver with the node's certificate.
	RestConfig *rest.Config
	// StateDir holds the Pods' files, below pods, and the node's disk, below
	// hostpath. Several kubelets may share it.
	StateDir string
	Images   Images
	// ServerTLS has the serving certificate; it should demand a certificate of
	// its clients, because a client can run commands in every Pod.
	ServerTLS *tls.Config
	// ClusterDNS is the nameserver of Pods, and ClusterDomain their last search
	// domain, such as cluster.local.
	ClusterDNS, ClusterDomain string
	Log                       logr.Logger
}

// kubelet is a running Config.
type kubelet struct {
	Config
	client  kubernetes.Interface
	runtime *container.Runtime
	events  record.EventRecorder
	objects *objects

	mu        sync.Mutex
	workers   map[types.UID]*worker
	leftovers []error // what could not be cleaned up
	running   sync.WaitGroup
}

// MaybeRunContainerInit turns the process into a container when the kubelet
// started it as one. Call it first in main.
func MaybeRunContainerInit() { container.MaybeInit() }

// Run is the node's kubelet until ctx ends; then it kills its Pods' processes
// and removes what it made, except the node's disk. It returns early only with
// an error that leaves no kubelet worth running.
func Run(ctx context.Context, config Config) error {
	restConfig := rest.CopyConfig(config.RestConfig)
	// The status of a Pod must not wait for a token bucket.
	restConfig.QPS = -1
	restConfig.UserAgent = "fairlead-lab-kubelet"
	client, err := kubernetes.NewForConfig(restConfig)
	if err != nil {
		return fmt.Errorf("kubelet of %s: %w", config.Node.Name, err)
	}
	return run(ctx, config, client)
}

func run(ctx context.Context, config Config, client kubernetes.Interface) error {
	listener, err := network.Listen(config.Node.NetNSPath, fmt.Sprintf(":%d", Port))
	if err != nil {
		return fmt.Errorf("kubelet of %s: %w", config.Node.Name, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	defer broadcaster.Shutdown()
	broadcaster.StartRecordingToSink(&typedv1.EventSinkImpl{Interface: client.CoreV1().Events("")})
	k := &kubelet{
		Config: config, client: client, runtime: container.NewRuntime(),
		events:  broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "kubelet", Host: config.Node.Name}),
		objects: &objects{client: client}, workers: map[types.UID]*worker{},
	}
	failed := make(chan error, 1)
	var loops sync.WaitGroup
	loops.Go(func() {
		if err := k.serve(ctx, listener); err != nil {
			failed <- err
		}
	})
	loops.Go(func() { k.keepNode(ctx) })
	loops.Go(func() { k.keepLease(ctx) })
	loops.Go(func() { k.watchPods(ctx) })
	select {
	case <-ctx.Done():
	case err = <-failed:
		cancel()
	}
	loops.Wait()
	k.running.Wait()
	k.runtime.Close()
	return errors.Join(append(k.leftovers, err)...)
}
