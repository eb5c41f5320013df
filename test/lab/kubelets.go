// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/fairlead-proxy/fairlead/test/lab/images"
	"github.com/fairlead-proxy/fairlead/test/lab/network"
	"github.com/fairlead-proxy/fairlead/test/lab/pki"
)

// kubeletConfig is what the kubelet of one node gets from the lab.
type kubeletConfig struct {
	node     network.Node
	topology *network.Topology
	rest     *rest.Config
	serving  pki.Pair
	clientCA []byte
	stateDir string
	images   images.Set
}

// runKubelet runs a node's kubelet until ctx ends.
var runKubelet = func(ctx context.Context, config kubeletConfig) error {
	client, err := kubernetes.NewForConfig(config.rest)
	if err != nil {
		return err
	}
	node, err := client.CoreV1().Nodes().Get(ctx, config.node.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "Fake", LastHeartbeatTime: metav1.Now()}}
	if _, err := client.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{}); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

func (s *supervisor) kubeletConfig(node network.Node) (kubeletConfig, error) {
	client, err := s.credentials.authority.Client("system:node:"+node.Name, "system:nodes")
	if err != nil {
		return kubeletConfig{}, err
	}
	serving, err := s.credentials.authority.Server(node.Name, node.Name, node.IPv4.String(), node.IPv6.String())
	if err != nil {
		return kubeletConfig{}, fmt.Errorf("kubelet of %s: %w", node.Name, err)
	}
	return kubeletConfig{
		node: node, topology: s.topology,
		rest:    s.credentials.restConfig(client, node.NetNSPath),
		serving: serving, clientCA: s.credentials.authority.Cert,
		stateDir: filepath.Join(s.config.Dir, "kubelet", node.Name),
		images: images.Set{
			BinDir: s.config.BinDir, EchoPath: s.config.EchoPath(),
			CoreDNSPath: filepath.Join(s.config.AssetsDir, "coredns"),
		},
	}, nil
}
