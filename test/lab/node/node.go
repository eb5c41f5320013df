// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package node runs a node of the lab: kubelet, containerd and runc, in
// namespaces of their own.
//
// The node's first process, its init, is this program again. It is in the
// node's network namespace and in new mount, PID, UTS, IPC and cgroup
// namespaces. It has its own /run, /sys and cgroups; what is written to /etc,
// /opt, /var goes to memory. So nothing of a node outlives its init, except
// its empty cgroups, which [Sweep] finds by their names.
package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
)

// Config is all that a node is made from.
type Config struct {
	// Name is the node's name in the cluster.
	Name string
	// Group is the name of the node's cgroups on the machine.
	Group string
	// IPv4 and IPv6 are the node's addresses.
	IPv4, IPv6 netip.Addr
	// PodCIDRv4 and PodCIDRv6 are the ranges of its Pods.
	PodCIDRv4, PodCIDRv6 netip.Prefix
	// Bridge connects the Pods. Without it a Pod on the node has to configure the network of others.
	Bridge bool
	// ProgramsDir has kubelet, containerd, runc and the CNI plugins.
	ProgramsDir string
	// Registry is the URL that every image is pulled from.
	Registry string
	// ClusterDNS and ClusterDomain are what the Pods' resolv.conf names.
	ClusterDNS, ClusterDomain string
	// Kubeconfig is kubelet's.
	Kubeconfig []byte
	// ClientCA is the authority of kubelet's clients; ServingCert and ServingKey are its own.
	ClientCA, ServingCert, ServingKey []byte
	// ContainerdLog and KubeletLog are files of the machine.
	ContainerdLog, KubeletLog string
}

// Programs are what ProgramsDir has.
var Programs = []string{
	"kubelet", "containerd", "containerd-shim-runc-v2", "ctr", "runc",
	"bridge", "host-local", "loopback", "portmap", "ptp",
}

// Command prepares the node's init, which ends when its standard input does.
// It has to be started in the node's network namespace.
func Command(config Config) (*exec.Cmd, error) {
	encoded, err := json.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", config.Name, err)
	}
	// In a variable, which only root may read: there are keys in it.
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{joinStage, config.Name}
	cmd.Env = append(os.Environ(), configVariable+"="+string(encoded))
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
	}
	return cmd, nil
}

// The names under which this program runs as a node's init.
const (
	// joinStage joins the node's cgroups, and leaves the view of the others.
	joinStage = "fairlead-lab-node-join"
	// initStage prepares the mounts and runs the programs.
	initStage = "fairlead-lab-node-init"

	configVariable = "FAIRLEAD_LAB_NODE"
)

// MaybeRunInit runs a node's init, and does not return, if that is what this
// process was started for.
func MaybeRunInit() {
	if os.Args[0] != joinStage && os.Args[0] != initStage {
		return
	}
	err := runStage(os.Args[0])
	fmt.Fprintln(os.Stderr, "node:", err)
	os.Exit(1)
}

func runStage(stage string) error {
	var config Config
	if err := json.Unmarshal([]byte(os.Getenv(configVariable)), &config); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	if stage == joinStage {
		return join(config)
	}
	if err := os.Unsetenv(configVariable); err != nil {
		return err
	}
	return errors.Join(errors.New(config.Name), initialize(config))
}
