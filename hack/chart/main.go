// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Command chart writes the parts of the Helm chart that follow from config/default: its CRDs
// and templates. It reads what kustomize builds. By hand are Chart.yaml's text, values.yaml
// with its schema, and the templates that config/default has no object for.
//
//	chart [-version VERSION] <manifests        writes charts/fairlead
//	chart -equal FILE <manifests               compares what Helm renders with FILE
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"

	"github.com/fairlead-proxy/fairlead/hack/internal/manifest"
)

const chartDir = "charts/fairlead"

func main() {
	version := flag.String("version", "", "version of chart and images, without v")
	equal := flag.String("equal", "", "file with the objects that must be the same as those read")
	flag.Parse()
	if err := run(os.Stdin, *version, *equal); err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, version, equal string) error {
	objects, err := manifest.Read(in)
	if err != nil {
		return fmt.Errorf("read manifests: %w", err)
	}
	if equal != "" {
		text, err := os.ReadFile(equal)
		if err != nil {
			return err
		}
		want, err := manifest.Read(bytes.NewReader(text))
		if err != nil {
			return fmt.Errorf("read %s: %w", equal, err)
		}
		return compare(want, objects)
	}
	files, err := generate(objects)
	if err != nil {
		return err
	}
	if err := write(files); err != nil {
		return err
	}
	return setVersion(version)
}

// write writes the generated files, and removes those whose objects are gone.
func write(files map[string][]byte) error {
	for _, dir := range []string{"crds", "templates"} {
		if err := removeGenerated(filepath.Join(chartDir, dir)); err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Join(chartDir, dir), 0o755); err != nil {
			return err
		}
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(chartDir, name), append([]byte(generated), text...), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func removeGenerated(dir string) error {
	names, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return err
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if bytes.HasPrefix(text, []byte(generated)) {
			if err := os.Remove(name); err != nil {
				return err
			}
		}
	}
	return nil
}

var versions = regexp.MustCompile(`(?m)^(version|appVersion): .*$`)

// setVersion gives the chart the version of what it installs.
func setVersion(version string) error {
	name := filepath.Join(chartDir, "Chart.yaml")
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	return os.WriteFile(name, versions.ReplaceAll(text, []byte("${1}: "+version)), 0o644)
}
