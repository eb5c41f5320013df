// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/test/lab"
	"github.com/fairlead-proxy/fairlead/test/lab/network"
	"github.com/fairlead-proxy/fairlead/test/lab/node"
)

// execInside replaces this process by a command in a namespace of the lab. The
// command finds the control plane's programs, such as kubectl, and a kubeconfig
// that works there.
func execInside(ctx context.Context, config lab.Config, args []string) error {
	if len(args) > 1 && args[1] == "--" {
		args = append(args[:1:1], args[2:]...)
	}
	if len(args) < 2 {
		return errors.New("usage: lab exec NAME -- COMMAND")
	}
	state, err := config.ReadState()
	if err != nil {
		return fmt.Errorf("no lab is running: %w", err)
	}
	path, err := namespaceOf(ctx, state.Config, args[0])
	if err != nil {
		return err
	}
	for name, value := range map[string]string{
		"KUBECONFIG":   config.InsideKubeconfig(),
		"KUBECACHEDIR": config.KubectlCache(),
		"PATH":         os.Getenv("PATH") + ":/usr/sbin:/sbin:" + state.Config.AssetsDir,
	} {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	program, err := exec.LookPath(args[1])
	if err != nil {
		return err
	}
	// The new program gets the namespace of the thread that calls exec.
	runtime.LockOSThread()
	return network.DoOnThread(path, func() error {
		if err := syscall.Exec(program, args[1:], os.Environ()); err != nil {
			return fmt.Errorf("run %s: %w", program, err)
		}
		return nil
	})
}

// namespaceOf is the file of the network namespace of a machine or a Pod.
func namespaceOf(ctx context.Context, config lab.Config, name string) (string, error) {
	topology := config.Topology()
	hosts := map[string]string{}
	var known []string
	for _, host := range topology.Hosts() {
		hosts[host.Name] = host.NetNSPath
		known = append(known, host.Name)
	}
	namespace, podName, isPod := strings.Cut(name, "/")
	if !isPod {
		if path, ok := hosts[name]; ok {
			return path, nil
		}
		return "", fmt.Errorf("%q is none of %s, and no NAMESPACE/POD", name, strings.Join(known, ", "))
	}
	client, err := connect(config)
	if err != nil {
		return "", err
	}
	pod, err := client.CoreV1().Pods(namespace).Get(ctx, podName, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("find the Pod: %w", err)
	}
	if pod.Spec.HostNetwork {
		return hosts[pod.Spec.NodeName], nil
	}
	return node.PodNetNS(config.Cgroup(pod.Spec.NodeName), string(pod.UID))
}
