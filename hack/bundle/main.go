// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Command bundle writes the operator bundle for the Operator Lifecycle Manager
// into bundle/ and bundle.Dockerfile. It reads what kustomize builds of
// config/manifests and does what `operator-sdk generate bundle` does, except
// that it drops nothing silently and that its output depends on its input only.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// options are the parameters of a bundle besides the manifests.
type options struct {
	version        string // of the operator, without v
	image          string // of the controller
	agentImage     string
	channels       string // separated by commas
	defaultChannel string
}

func main() {
	var opts options
	flag.StringVar(&opts.version, "version", "", "version of the operator, without v")
	flag.StringVar(&opts.image, "image", "", "image of the controller")
	flag.StringVar(&opts.agentImage, "agent-image", "", "image of the agent")
	flag.StringVar(&opts.channels, "channels", "", "channels of the bundle, separated by commas")
	flag.StringVar(&opts.defaultChannel, "default-channel", "", "channel of users who name none")
	icon := flag.String("icon", "", "file of the icon, SVG")
	flag.Parse()
	if err := run(opts, *icon); err != nil {
		fmt.Fprintln(os.Stderr, "bundle:", err)
		os.Exit(1)
	}
}

func run(opts options, iconFile string) error {
	if !slices.Contains(strings.Split(opts.channels, ","), opts.defaultChannel) {
		return fmt.Errorf("the default channel %q is none of the channels %q", opts.defaultChannel, opts.channels)
	}
	icon, err := os.ReadFile(iconFile)
	if err != nil {
		return fmt.Errorf("read the icon: %w", err)
	}
	m, err := readManifests(os.Stdin)
	if err != nil {
		return fmt.Errorf("read manifests: %w", err)
	}
	files, err := generate(m, opts, icon)
	if err != nil {
		return err
	}
	// This also removes files of objects that no longer exist.
	if err := os.RemoveAll(bundleDir); err != nil {
		return fmt.Errorf("remove the old bundle: %w", err)
	}
	for name, content := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return fmt.Errorf("write the bundle: %w", err)
		}
		if err := os.WriteFile(name, content, 0o644); err != nil {
			return fmt.Errorf("write the bundle: %w", err)
		}
	}
	return nil
}
