// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/fairlead-proxy/fairlead/test/lab/network"
	"github.com/fairlead-proxy/fairlead/test/lab/node"
	"github.com/fairlead-proxy/fairlead/test/lab/registry"
)

const (
	registryPort = "5000"
	// clusterDNS is the address of the Service kube-dns, see the add-ons.
	clusterDNS = "10.96.0.10"
)

// serveImages runs the registry that the nodes pull from, in the control plane's network.
func (s *supervisor) serveImages(ctx context.Context) error {
	listener, err := network.Listen(s.topology.Control.NetNSPath, "[::]:"+registryPort)
	if err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	server := &http.Server{Handler: registry.Handler{Dir: s.config.ImagesDir()}, ReadHeaderTimeout: time.Minute}
	context.AfterFunc(ctx, func() { server.Close() })
	s.inBackground("registry", func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	return nil
}

// runNode runs a node until ctx ends.
func (s *supervisor) runNode(ctx context.Context, n network.Node) error {
	config, err := s.nodeConfig(n)
	if err != nil {
		return err
	}
	if err := node.CreateCgroups(config.Group); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(s.config.LogDir(), n.Name+".log"))
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	defer log.Close()
	cmd, err := node.Command(config)
	if err != nil {
		return err
	}
	alive, hold, err := os.Pipe()
	if err != nil {
		return err
	}
	defer hold.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = alive, log, log
	err = s.control.launcher.start(n.NetNSPath, cmd)
	alive.Close()
	if err != nil {
		return err
	}
	// With its init the kernel ends all that is the node's.
	return waitNode(ctx, cmd, syscall.SIGKILL, log)
}

// waitNode waits for the end of a node; with ctx a signal ends it.
func waitNode(ctx context.Context, cmd *exec.Cmd, signal os.Signal, log *os.File) error {
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(signal) })
	defer stop()
	err := cmd.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("ended: %w; see %s", err, log.Name())
}

func (s *supervisor) nodeConfig(n network.Node) (node.Config, error) {
	authority := s.credentials.authority
	client, err := authority.Client("system:node:"+n.Name, "system:nodes")
	if err != nil {
		return node.Config{}, err
	}
	serving, err := authority.Server(n.Name, n.Name, n.IPv4.String(), n.IPv6.String())
	if err != nil {
		return node.Config{}, err
	}
	kubeconfig, err := clientcmd.Write(s.credentials.kubeconfig(s.credentials.insideURL, client))
	if err != nil {
		return node.Config{}, fmt.Errorf("kubeconfig: %w", err)
	}
	return node.Config{
		Name: n.Name, Group: s.config.Cgroup(n.Name),
		IPv4: n.IPv4, IPv6: n.IPv6, PodCIDRv4: n.PodCIDRv4, PodCIDRv6: n.PodCIDRv6,
		Bridge:      s.config.CNI == "",
		ProgramsDir: s.config.AssetsDir,
		Registry:    "http://" + net.JoinHostPort(s.topology.Control.IPv4.String(), registryPort),
		ClusterDNS:  clusterDNS, ClusterDomain: clusterDomain,
		Kubeconfig: kubeconfig, ClientCA: authority.Cert,
		ServingCert: serving.Cert, ServingKey: serving.Key,
		ContainerdLog: filepath.Join(s.config.LogDir(), "containerd-"+n.Name+".log"),
		KubeletLog:    filepath.Join(s.config.LogDir(), "kubelet-"+n.Name+".log"),
	}, nil
}

// Cgroup is the name of a node's cgroups.
func (c Config) Cgroup(nodeName string) string { return c.cgroupPrefix() + nodeName }

// cgroupPrefix starts the names of the lab's cgroups.
func (c Config) cgroupPrefix() string { return c.Prefix + "lab-" }
