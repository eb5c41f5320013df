// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package diff

import (
	"context"
	"errors"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// fieldManager is kubectl's own of `kubectl apply --server-side`.
const fieldManager = "kubectl"

// Collect reads the objects of a Report. The apiserver completes and checks the ProxyConfigs of the file as
// `kubectl apply --server-side` would have it, and writes nothing.
func Collect(ctx context.Context, api client.Client, file io.Reader) (Input, error) {
	var in Input
	files, err := read(file)
	if err != nil {
		return in, err
	}
	for _, object := range files {
		if err := api.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), client.DryRunAll, client.ForceOwnership, client.FieldOwner(fieldManager)); err != nil {
			return in, fmt.Errorf("check ProxyConfig %s: %w", object.GetName(), err)
		}
		var config v1alpha1.ProxyConfig
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &config); err != nil {
			return in, fmt.Errorf("read ProxyConfig %s: %w", object.GetName(), err)
		}
		if config.CreationTimestamp.IsZero() {
			config.CreationTimestamp = metav1.Now()
		}
		in.New = append(in.New, config)
	}
	var configs v1alpha1.ProxyConfigList
	var nodes corev1.NodeList
	var rules v1alpha1.NodeRuleSetList
	var cidrs networkingv1.ServiceCIDRList
	for _, list := range []client.ObjectList{&configs, &nodes, &rules, &cidrs} {
		if err := api.List(ctx, list); err != nil {
			return in, fmt.Errorf("list %T: %w", list, err)
		}
	}
	in.Configs, in.Nodes, in.Rules, in.ServiceCIDRs = configs.Items, nodes.Items, rules.Items, cidrs.Items
	return in, nil
}

// read reads the ProxyConfigs of a file, and refuses anything else in it.
func read(file io.Reader) (out []*unstructured.Unstructured, err error) {
	decoder := yaml.NewYAMLOrJSONDecoder(file, 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(object); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("read the file: %w", err)
		}
		if object.Object == nil { // an empty document
			continue
		}
		if kind := object.GroupVersionKind(); kind != v1alpha1.GroupVersion.WithKind("ProxyConfig") {
			return nil, fmt.Errorf("the file has an object of kind %s: only ProxyConfigs of %s can be compared", kind.Kind, v1alpha1.GroupVersion)
		}
		out = append(out, object)
	}
	if len(out) == 0 {
		return nil, errors.New("the file has no ProxyConfig")
	}
	return out, nil
}
