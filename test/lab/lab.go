// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package lab runs a Kubernetes cluster on one machine: a real control plane,
// and nodes that run kubelet and containerd in their own namespaces.
//
// One process, the supervisor, owns all of it. What it may leave behind when it
// is killed is known by name (namespaces that start with the prefix, mounts and
// files below the state directory), so that [Sweep] removes it without a record.
package lab

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/fairlead-proxy/fairlead/test/lab/network"
)

// Config has the directories of a lab and the programs that it runs.
type Config struct {
	// Dir is the state directory. It is removed with the lab.
	Dir string
	// Prefix starts the names of the lab's network namespaces, and of no others:
	// what has such a name is swept.
	Prefix string
	// Nodes is the number of nodes.
	Nodes int
	// VM is hack/vm if the first node runs in a virtual machine, with another kernel than the others. Empty: it does not.
	VM string
	// CNI is the plugin that connects the Pods, a DaemonSet of the package addons.
	// Empty: the nodes are made with a bridge and the routes between them.
	CNI string
	// AssetsDir holds the control plane's programs.
	AssetsDir string
	// BinDir holds the project's own programs.
	BinDir string
}

// Default is the configuration of the lab of this machine. FAIRLEAD_LAB_DIR and
// FAIRLEAD_LAB_PREFIX, set to something else, make a second lab; the
// prefixes must not be the beginning of one another.
func Default() Config {
	return Config{
		Dir:    cmp.Or(os.Getenv("FAIRLEAD_LAB_DIR"), "/var/lib/fairlead-lab"),
		Prefix: cmp.Or(os.Getenv("FAIRLEAD_LAB_PREFIX"), network.DefaultPrefix),
		Nodes:  3,
		CNI:    os.Getenv("FAIRLEAD_LAB_CNI"),
	}
}

// Kubeconfig is the administrator's kubeconfig for the host.
func (c Config) Kubeconfig() string { return filepath.Join(c.Dir, "kubeconfig") }

// InsideKubeconfig is the administrator's kubeconfig for the lab's namespaces.
func (c Config) InsideKubeconfig() string { return filepath.Join(c.Dir, "kubeconfig-inside") }

// KubectlCache is where kubectl caches what the lab's apiserver serves, if KUBECACHEDIR names it:
// it goes with the lab.
func (c Config) KubectlCache() string { return filepath.Join(c.Dir, "kubectl-cache") }

// LogDir holds a log for each part of the lab.
func (c Config) LogDir() string { return filepath.Join(c.Dir, "logs") }

// ImagesDir has an OCI layout for each image that nodes pull: `make lab-images` makes them.
func (c Config) ImagesDir() string { return filepath.Join(c.BinDir, "lab-images") }

// Topology is the plan of the lab's network.
func (c Config) Topology() *network.Topology {
	topology := network.New(c.Prefix, c.Nodes)
	topology.PluginRoutes = c.CNI != ""
	if c.VM != "" {
		topology.Nodes[0].VM = true
	}
	return topology
}

func (c Config) pkiDir() string    { return filepath.Join(c.Dir, "pki") }
func (c Config) stateFile() string { return filepath.Join(c.Dir, "lab.json") }

// makeDirs makes the state directory. It holds keys: it is root's alone.
func (c Config) makeDirs() error {
	for _, dir := range []string{c.Dir, c.LogDir(), c.pkiDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("state directory: %w", err)
		}
	}
	return nil
}

// State is the supervisor's state in the state directory.
type State struct {
	// Config is what the lab was started with.
	Config Config
	// PID is the supervisor's.
	PID int
	// Ready is set once the lab is up.
	Ready bool
	// Components are the control plane's processes.
	Components []ComponentState
}

// ComponentState is one process of the control plane.
type ComponentState struct {
	Name     string
	PID      int
	Restarts int
}

// ReadState reads what the supervisor wrote last.
func (c Config) ReadState() (State, error) {
	var state State
	data, err := os.ReadFile(c.stateFile())
	if err != nil {
		return state, fmt.Errorf("state of the lab: %w", err)
	}
	if err := json.Unmarshal(data, &state); err != nil {
		return state, fmt.Errorf("state of the lab: %w", err)
	}
	return state, nil
}

// WriteState replaces the state, in one step for readers.
func (c Config) WriteState(state State) error {
	data, err := json.MarshalIndent(state, "", "  ")
	if err != nil {
		return fmt.Errorf("state of the lab: %w", err)
	}
	next := c.stateFile() + ".next"
	if err := os.WriteFile(next, data, 0o600); err != nil {
		return fmt.Errorf("state of the lab: %w", err)
	}
	if err := os.Rename(next, c.stateFile()); err != nil {
		return fmt.Errorf("state of the lab: %w", err)
	}
	return nil
}
