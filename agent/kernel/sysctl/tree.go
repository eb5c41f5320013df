// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package sysctl reads and writes the kernel's parameters.
package sysctl

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// DefaultRoot is where the kernel exposes its parameters.
const DefaultRoot = "/proc/sys"

// Parameters reads and sets kernel parameters.
type Parameters interface {
	Get(name string) (string, error)
	Set(name, value string) error
}

// Tree is a tree of kernel parameters. Those below net belong to the network namespace of
// the thread that opens them.
type Tree struct {
	// Root is the directory of the tree; empty: DefaultRoot.
	Root string
}

// Get returns the value of a parameter, such as net/netfilter/nf_conntrack_max, without
// the newline.
func (t Tree) Get(name string) (string, error) {
	text, err := os.ReadFile(t.path(name))
	if err != nil {
		return "", fmt.Errorf("read a sysctl: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// Set sets a parameter. It does not create parameters that the kernel does not have.
func (t Tree) Set(name, value string) error {
	f, err := os.OpenFile(t.path(name), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return fmt.Errorf("write a sysctl: %w", err)
	}
	_, err = f.WriteString(value + "\n")
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return fmt.Errorf("write a sysctl: %w", err)
	}
	return nil
}

func (t Tree) path(name string) string {
	root := t.Root
	if root == "" {
		root = DefaultRoot
	}
	return filepath.Join(root, filepath.FromSlash(name))
}
