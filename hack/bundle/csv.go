// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// agentImageVariable is the environment variable with the agents' image. Its prefix
// is a convention: OLM's tools use it to find the images for disconnected clusters.
const agentImageVariable = "RELATED_IMAGE_AGENT"

// completeCSV adds the generated parts to the ClusterServiceVersion.
func completeCSV(m *manifests, perms *permissions, opts options, icon []byte) error {
	var deployments []any
	for _, d := range m.deployments {
		if err := setImages(d, opts); err != nil {
			return fmt.Errorf("Deployment %s: %w", d.GetName(), err)
		}
		labels := map[string]any{}
		for k, v := range d.GetLabels() {
			labels[k] = v
		}
		deployments = append(deployments, map[string]any{"name": d.GetName(), "label": labels, "spec": d.Object["spec"]})
	}
	if err := annotate(m, opts); err != nil {
		return err
	}
	m.csv.SetName(packageName + ".v" + opts.version)
	m.csv.SetNamespace("")
	spec, _ := m.csv.Object["spec"].(map[string]any)
	if spec == nil {
		return errors.New("the ClusterServiceVersion has no spec")
	}
	spec["version"] = opts.version
	spec["icon"] = []any{map[string]any{"base64data": base64.StdEncoding.EncodeToString(icon), "mediatype": "image/svg+xml"}}
	spec["relatedImages"] = []any{
		map[string]any{"name": "controller", "image": opts.image},
		map[string]any{"name": "agent", "image": opts.agentImage},
	}
	spec["install"] = map[string]any{"strategy": "deployment", "spec": map[string]any{
		"deployments": deployments, "permissions": perms.namespaced, "clusterPermissions": perms.cluster,
	}}
	return describeOwned(m.csv, m.crds)
}

// annotate adds the examples. The first one is the initialization resource.
func annotate(m *manifests, opts options) error {
	if len(m.examples) == 0 {
		return errors.New("no samples among the manifests")
	}
	all, err := json.MarshalIndent(m.examples, "", "  ")
	if err != nil {
		return fmt.Errorf("write examples: %w", err)
	}
	first, err := json.MarshalIndent(m.examples[0], "", "  ")
	if err != nil {
		return fmt.Errorf("write the first example: %w", err)
	}
	annotations := m.csv.GetAnnotations()
	annotations["alm-examples"] = string(all)
	annotations["operatorframework.io/initialization-resource"] = string(first)
	annotations["containerImage"] = opts.image
	m.csv.SetAnnotations(annotations)
	return nil
}

// setImages sets the images of the controller and of the agent.
func setImages(deployment *object, opts options) error {
	path := []string{"spec", "template", "spec", "containers"}
	containers, _, err := unstructured.NestedSlice(deployment.Object, path...)
	if err != nil {
		return err
	}
	if len(containers) != 1 {
		return fmt.Errorf("%d containers, want the controller's only", len(containers))
	}
	container, _ := containers[0].(map[string]any)
	container["image"] = opts.image
	env, _ := container["env"].([]any)
	found := false
	for _, e := range env {
		if variable, _ := e.(map[string]any); variable["name"] == agentImageVariable {
			variable["value"], found = opts.agentImage, true
		}
	}
	if !found {
		return fmt.Errorf("no environment variable %s", agentImageVariable)
	}
	return unstructured.SetNestedSlice(deployment.Object, containers, path...)
}
