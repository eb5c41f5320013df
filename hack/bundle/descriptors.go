// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// uiDescriptor is the prefix of the inputs' names in OLM's user interfaces.
const uiDescriptor = "urn:alm:descriptor:com.tectonic.ui:"

// describeOwned completes the descriptors of the owned CRDs in the
// ClusterServiceVersion from the CRDs' schemas.
func describeOwned(csv *object, crds []*object) error {
	owned, _, err := unstructured.NestedSlice(csv.Object, "spec", "customresourcedefinitions", "owned")
	if err != nil {
		return fmt.Errorf("owned CRDs: %w", err)
	}
	if len(owned) != len(crds) {
		return fmt.Errorf("the ClusterServiceVersion names %d owned CRDs, there are %d", len(owned), len(crds))
	}
	for _, o := range owned {
		owned, _ := o.(map[string]any)
		name, _ := owned["name"].(string)
		i := slices.IndexFunc(crds, named(name))
		if i < 0 {
			return fmt.Errorf("owned CRD %q does not exist", name)
		}
		schema, err := schemaOf(crds[i], owned["version"])
		if err != nil {
			return err
		}
		owned["description"] = schema["description"]
		for list, part := range map[string]string{"specDescriptors": "spec", "statusDescriptors": "status"} {
			if err := describeFields(owned[list], schema, part); err != nil {
				return fmt.Errorf("%s of %s: %w", list, name, err)
			}
		}
	}
	return unstructured.SetNestedSlice(csv.Object, owned, "spec", "customresourcedefinitions", "owned")
}

// schemaOf returns the schema of a CRD in one version.
func schemaOf(crd *object, version any) (map[string]any, error) {
	versions, _, err := unstructured.NestedSlice(crd.Object, "spec", "versions")
	if err != nil {
		return nil, fmt.Errorf("CRD %s: %w", crd.GetName(), err)
	}
	for _, v := range versions {
		if v, _ := v.(map[string]any); v["name"] == version {
			schema, _, err := unstructured.NestedMap(v, "schema", "openAPIV3Schema")
			return schema, err
		}
	}
	return nil, fmt.Errorf("CRD %s has no version %v", crd.GetName(), version)
}

// describeFields completes descriptors: the description is the field's, and
// the input fits its type.
func describeFields(descriptors any, schema map[string]any, part string) error {
	list, _ := descriptors.([]any)
	for _, d := range list {
		descriptor, _ := d.(map[string]any)
		path, _ := descriptor["path"].(string)
		field := schema
		for _, name := range strings.Split(part+"."+path, ".") {
			properties, _ := field["properties"].(map[string]any)
			field, _ = properties[name].(map[string]any)
			if field == nil {
				return fmt.Errorf("the CRD has no field %s.%s", part, path)
			}
		}
		descriptor["description"] = field["description"]
		written, _ := descriptor["x-descriptors"].([]any)
		if x := append(inputs(field, part), written...); len(x) > 0 {
			descriptor["x-descriptors"] = x
		}
	}
	return nil
}

// inputs returns the names of a field's inputs, or for a status of its display.
func inputs(field map[string]any, part string) []any {
	values, _ := field["enum"].([]any)
	kind, _ := field["type"].(string)
	switch {
	case part == "status" && slices.Contains([]string{"string", "integer"}, kind):
		return []any{"urn:alm:descriptor:text"}
	case part == "status":
		return nil
	case len(values) > 0:
		var out []any
		for _, v := range values {
			out = append(out, fmt.Sprintf("%sselect:%v", uiDescriptor, v))
		}
		return out
	case kind == "boolean":
		return []any{uiDescriptor + "booleanSwitch"}
	case kind == "integer":
		return []any{uiDescriptor + "number"}
	}
	return nil
}
