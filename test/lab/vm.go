// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/fairlead-proxy/fairlead/test/lab/network"
	"github.com/fairlead-proxy/fairlead/test/lab/node"
)

const (
	// MachineCommand is the command of this program that makes a virtual machine a node.
	MachineCommand = "machine"
	// machineVariable has the configuration, with the node's keys.
	machineVariable = "FAIRLEAD_LAB_MACHINE"
	// machineTime ends a virtual machine whose supervisor forgets it.
	machineTime = "24h"
)

// virtualMachine is the configuration of a virtual machine that is a node.
type virtualMachine struct {
	Config Config
	Node   node.Config
}

// runVM runs a node in a virtual machine until ctx ends. It sees the files of this machine, but not those of the lab.
func (s *supervisor) runVM(ctx context.Context, n network.Node) error {
	config, err := s.nodeConfig(n)
	if err != nil {
		return err
	}
	// What is written to files there is lost.
	config.ContainerdLog, config.KubeletLog = "/dev/stderr", "/dev/stderr"
	encoded, err := json.Marshal(virtualMachine{s.config, config})
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(s.config.LogDir(), n.Name+".log"))
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	defer log.Close()
	tap, err := s.topology.PlugIn(n)
	if err != nil {
		return err
	}
	defer tap.Close()
	program, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(s.config.VM, "-timeout", machineTime, "-tap", "3", program, MachineCommand)
	cmd.Dir, cmd.ExtraFiles = "/", []*os.File{tap}
	cmd.Env = append(os.Environ(), machineVariable+"="+string(encoded))
	cmd.Stdout, cmd.Stderr = log, log
	if err := s.control.launcher.start("/proc/self/ns/net", cmd); err != nil {
		return err
	}
	// With time to reap what it has started.
	return waitNode(ctx, cmd, syscall.SIGTERM, log)
}

// RunMachine makes this virtual machine a node, as runNode does for a namespace. It ends with the machine.
func RunMachine() error {
	var machine virtualMachine
	if err := json.Unmarshal([]byte(os.Getenv(machineVariable)), &machine); err != nil {
		return fmt.Errorf("configuration of the machine: %w", err)
	}
	if err := os.Unsetenv(machineVariable); err != nil {
		return err
	}
	loadDriver := func() error {
		if out, err := exec.Command("modprobe", "virtio_net").CombinedOutput(); err != nil {
			return fmt.Errorf("kernel module virtio_net: %w: %s", err, out)
		}
		return nil
	}
	if err := machine.Config.Topology().ConfigureMachine(machine.Node.Name, loadDriver); err != nil {
		return err
	}
	if err := node.CreateCgroups(machine.Node.Group); err != nil {
		return err
	}
	cmd, err := node.Command(machine.Node)
	if err != nil {
		return err
	}
	// A pipe that stays open: the node ends when its standard input does.
	alive, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	defer alive.Close()
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}
