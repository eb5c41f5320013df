// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fairlead-proxy/fairlead/test/lab"
	"github.com/fairlead-proxy/fairlead/test/lab/node"
)

// vmProgram runs a command in a virtual machine; it is a program of the repository.
const vmProgram = "hack/vm"

// prepare makes sure that a lab can start: nothing is left of the last one, and
// all binaries are available. Called with the lock held.
func prepare(ctx context.Context, config *lab.Config) error {
	if err := lab.Sweep(*config); err != nil {
		return fmt.Errorf("remove the last lab: %w", err)
	}
	if err := lab.Clear(*config); err != nil {
		return fmt.Errorf("remove the last lab: %w", err)
	}
	root, err := repository()
	if err != nil {
		return err
	}
	if config.BinDir == "" {
		config.BinDir = filepath.Join(root, "bin")
	}
	if config.BinDir, err = filepath.Abs(config.BinDir); err != nil {
		return err
	}
	if _, err := command(ctx, root, "hack/deps.sh"); err != nil {
		return fmt.Errorf("install what the lab needs: %w", err)
	}
	programs := append(slices.Clone(lab.Programs), node.Programs...)
	if _, err := os.Stat(config.ImagesDir()); err != nil {
		return fmt.Errorf("images of the nodes: %w: run `make lab-images`", err)
	}
	assets, err := command(ctx, root, "hack/controlplane.sh", programs...)
	if err != nil {
		return fmt.Errorf("programs of the control plane: %w", err)
	}
	config.AssetsDir = assets
	if config.VM == "" {
		return nil
	}
	config.VM = filepath.Join(root, vmProgram)
	// Whatever kernel this machine has. The first time it installs and downloads what it needs.
	if err := os.Setenv("FAIRLEAD_VM", "qemu"); err != nil {
		return err
	}
	if _, err := command(ctx, root, vmProgram, "true"); err != nil {
		return fmt.Errorf("virtual machine: %w", err)
	}
	return nil
}

// command runs a program of the repository and returns what it prints. Its
// messages go to the terminal; Ctrl-C reaches it by ctx.
func command(ctx context.Context, dir, name string, args ...string) (string, error) {
	if strings.Contains(name, "/") {
		name = filepath.Join(dir, name)
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	var out bytes.Buffer
	cmd.Stdout = &out
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		return "", errors.Join(err, ctx.Err())
	}
	return strings.TrimSpace(out.String()), nil
}

// repository finds the project's root from the working directory.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "hack", "controlplane.sh")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("run this inside the project's repository")
		}
		dir = parent
	}
}
