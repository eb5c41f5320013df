// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// Names that OLM's tools expect.
const (
	packageName   = "fairlead"
	bundleDir     = "bundle"
	manifestsDir  = bundleDir + "/manifests"
	annotationsIn = bundleDir + "/metadata/annotations.yaml"
	dockerfile    = "bundle.Dockerfile"
)

const licence = "# Copyright 2026 The Fairlead Authors.\n# SPDX-License-Identifier: Apache-2.0\n"

// generate returns the files of the bundle by their names.
func generate(m *manifests, opts options, icon []byte) (map[string][]byte, error) {
	perms, err := permissionsOf(m)
	if err != nil {
		return nil, err
	}
	if err := completeCSV(m, perms, opts, icon); err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, obj := range slices.Concat([]*object{m.csv}, m.crds, perms.unbound, extraServiceAccounts(m), m.others) {
		obj.SetNamespace("") // the user of OLM chooses it
		text, err := yaml.Marshal(obj.Object)
		if err != nil {
			return nil, fmt.Errorf("write %s %s: %w", obj.GetKind(), obj.GetName(), err)
		}
		name := path.Join(manifestsDir, fileName(obj))
		if files[name] != nil {
			return nil, fmt.Errorf("two objects for %s", name)
		}
		files[name] = text
	}
	labels := labelsOf(opts)
	files[annotationsIn] = annotationsFile(labels)
	files[dockerfile] = dockerFile(labels)
	return files, nil
}

// fileName is the name that operator-sdk gives to an object's file.
func fileName(obj *object) string {
	gvk := obj.GroupVersionKind()
	switch gvk.Kind {
	case "ClusterServiceVersion":
		return packageName + ".clusterserviceversion.yaml"
	case "CustomResourceDefinition":
		plural, group, _ := strings.Cut(obj.GetName(), ".")
		return group + "_" + plural + ".yaml"
	}
	parts := []string{obj.GetName(), gvk.Group, gvk.Version, strings.ToLower(gvk.Kind)}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "_") + ".yaml"
}

// labelsOf are the labels of the image, which are the annotations of the bundle.
func labelsOf(opts options) [][2]string {
	const prefix = "operators.operatorframework.io.bundle."
	return [][2]string{
		{prefix + "mediatype.v1", "registry+v1"},
		{prefix + "manifests.v1", "manifests/"},
		{prefix + "metadata.v1", "metadata/"},
		{prefix + "package.v1", packageName},
		{prefix + "channels.v1", opts.channels},
		{prefix + "channel.default.v1", opts.defaultChannel},
	}
}

func annotationsFile(labels [][2]string) []byte {
	var b strings.Builder
	b.WriteString(licence + "annotations:\n")
	for _, l := range labels {
		fmt.Fprintf(&b, "  %s: %s\n", l[0], l[1])
	}
	return []byte(b.String())
}

func dockerFile(labels [][2]string) []byte {
	var b strings.Builder
	b.WriteString(licence + "# Written by `make bundle`.\nFROM scratch\n\n")
	for _, l := range labels {
		fmt.Fprintf(&b, "LABEL %s=%s\n", l[0], l[1])
	}
	fmt.Fprintf(&b, "\nCOPY %s /manifests/\nCOPY %s /metadata/\n", manifestsDir, path.Dir(annotationsIn))
	return []byte(b.String())
}
