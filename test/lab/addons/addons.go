// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package addons installs the add-ons of every cluster.
package addons

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
)

// fieldOwner is the field manager of the applied objects.
const fieldOwner = "fairlead-lab"

//go:embed *.yaml
var manifests embed.FS

//go:embed cni/*.yaml
var plugins embed.FS

// Apply installs the add-ons by server-side apply.
func Apply(ctx context.Context, config *rest.Config) error {
	objects, err := load(manifests, "*.yaml")
	if err != nil {
		return err
	}
	return apply(ctx, config, objects)
}

// ApplyCNI installs the CNI plugin of a name.
func ApplyCNI(ctx context.Context, config *rest.Config, name string) error {
	objects, err := load(plugins, "cni/"+name+".yaml")
	if err != nil {
		return err
	}
	if len(objects) == 0 {
		return fmt.Errorf("the lab has no plugin %q", name)
	}
	return apply(ctx, config, objects)
}

func apply(ctx context.Context, config *rest.Config, objects []*unstructured.Unstructured) error {
	discoverer, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return fmt.Errorf("discovery: %w", err)
	}
	groups, err := restmapper.GetAPIGroupResources(discoverer)
	if err != nil {
		return fmt.Errorf("discovery: %w", err)
	}
	mapper := restmapper.NewDiscoveryRESTMapper(groups)
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	for _, object := range objects {
		kind := object.GroupVersionKind()
		mapping, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
		if err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		resource := client.Resource(mapping.Resource).Namespace(object.GetNamespace())
		_, err = resource.Apply(ctx, object.GetName(), object, metav1.ApplyOptions{FieldManager: fieldOwner, Force: true})
		if err != nil {
			return fmt.Errorf("apply %s %s: %w", kind.Kind, object.GetName(), err)
		}
	}
	return nil
}

// load reads the objects of all files of a pattern.
func load(files fs.FS, pattern string) ([]*unstructured.Unstructured, error) {
	names, err := fs.Glob(files, pattern)
	if err != nil {
		return nil, err
	}
	var objects []*unstructured.Unstructured
	for _, name := range names {
		file, err := files.Open(name)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		decoder := yaml.NewYAMLOrJSONDecoder(file, 4096)
		for {
			object := &unstructured.Unstructured{}
			err := decoder.Decode(&object.Object)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			if len(object.Object) > 0 {
				objects = append(objects, object)
			}
		}
	}
	return objects, nil
}
