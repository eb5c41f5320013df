// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package labtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/fairlead-proxy/fairlead/test/lab"
)

// StartKubeProxy runs kube-proxy as kubeadm does, in a mode and with a variant of iptables (nft, legacy), on the nodes that its
// DaemonSet is not kept off. `make lab-images LAB_IMAGES=kube-proxy` makes its image.
func StartKubeProxy(config lab.Config, mode, variant string) error {
	if _, err := os.Stat(filepath.Join(Repo, "bin", "lab-images", "kube-proxy")); err != nil {
		return fmt.Errorf("image of kube-proxy: %w", err)
	}
	manifest, err := os.ReadFile(filepath.Join(Repo, "test", "e2e", "kube-proxy.yaml"))
	if err != nil {
		return err
	}
	inside, err := clientcmd.LoadFromFile(config.InsideKubeconfig())
	if err != nil {
		return err
	}
	server := inside.Clusters[inside.Contexts[inside.CurrentContext].Cluster].Server
	cmd := exec.Command("kubectl", "apply", "-f", "-")
	cmd.Stdin = strings.NewReader(strings.NewReplacer("MODE", mode, "VARIANT", variant, "APISERVER", server).Replace(string(manifest)))
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("install kube-proxy: %w", err)
	}
	return nil
}

// AwaitKubeProxy waits until kube-proxy's Pods are ready.
func AwaitKubeProxy() error {
	return Command("kubectl", "-n", "kube-system", "rollout", "status", "daemonset/kube-proxy", "--timeout=4m")
}

// RemoveKubeProxy deletes kube-proxy, and waits until its Pods have gone. Its rules stay.
func RemoveKubeProxy() error {
	return Command("kubectl", "-n", "kube-system", "delete", "daemonset/kube-proxy", "configmap/kube-proxy",
		"--ignore-not-found", "--cascade=foreground", "--timeout=60s")
}
