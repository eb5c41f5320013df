// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// readBundle reads the objects of the bundle that is in the repository.
func readBundle(t *testing.T) []*object {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", manifestsDir, "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no bundle, run `make bundle`: %v", err)
	}
	var out []*object
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		obj := &object{}
		if err := yaml.UnmarshalStrict(text, &obj.Object); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		out = append(out, obj)
	}
	return out
}

// TestBundle checks what OLM's own validators do not: they are in test/bundle.
func TestBundle(t *testing.T) {
	for _, err := range problems(readBundle(t)) {
		t.Error(err)
	}
}

// TestProblems checks that each check finds something.
func TestProblems(t *testing.T) {
	add := func(kind string) func([]*object) []*object {
		return func(objs []*object) []*object {
			return append(objs, &object{Object: map[string]any{"kind": kind, "metadata": map[string]any{"name": "x"}}})
		}
	}
	owned := func(change func(first map[string]any)) func([]*object) []*object {
		return func(objs []*object) []*object {
			for _, o := range ownedIn(csvOf(objs)) {
				if o["kind"] == "ProxyConfig" {
					change(o)
				}
			}
			return objs
		}
	}
	cases := map[string]struct {
		change func([]*object) []*object
		want   string
	}{
		"DaemonSet":                 {add("DaemonSet"), "OLM accepts no DaemonSet"},
		"Deployment":                {add("Deployment"), "OLM accepts no Deployment"},
		"ValidatingAdmissionPolicy": {add("ValidatingAdmissionPolicy"), "OLM accepts no ValidatingAdmissionPolicy"},
		"namespace":                 {func(objs []*object) []*object { objs[0].SetNamespace("here"); return objs }, "has the namespace here"},
		"resources":                 {owned(func(o map[string]any) { delete(o, "resources") }), "ProxyConfig lists no resources"},
		"spec descriptor": {owned(func(o map[string]any) { o["specDescriptors"] = o["specDescriptors"].([]any)[1:] }),
			"ProxyConfig has no specDescriptor for nodeSelector"},
		"status descriptor": {owned(func(o map[string]any) { o["statusDescriptors"] = o["statusDescriptors"].([]any)[1:] }),
			"ProxyConfig has no statusDescriptor for conditions"},
		"examples": {func(objs []*object) []*object { csvOf(objs).SetAnnotations(nil); return objs }, "alm-examples"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := fmt.Sprint(problems(tc.change(readBundle(t))))
			if !strings.Contains(got, tc.want) {
				t.Errorf("got %s, want %q", got, tc.want)
			}
		})
	}
}

func csvOf(objs []*object) *object {
	return objs[slices.IndexFunc(objs, func(o *object) bool { return o.GetKind() == "ClusterServiceVersion" })]
}

func ownedIn(csv *object) []map[string]any {
	list, _, _ := unstructured.NestedFieldNoCopy(csv.Object, "spec", "customresourcedefinitions", "owned")
	var out []map[string]any
	for _, o := range list.([]any) {
		out = append(out, o.(map[string]any))
	}
	return out
}

// problems lists the problems of a bundle: kinds that OLM rejects, and violations of
// operator-sdk's scorecard (which itself needs a cluster).
func problems(objs []*object) []error {
	var out []error
	crds := map[string]*object{}
	for _, o := range objs {
		if !slices.Contains(acceptedKinds, o.GetKind()) {
			out = append(out, fmt.Errorf("OLM accepts no %s in a bundle", o.GetKind()))
		}
		if o.GetNamespace() != "" {
			out = append(out, fmt.Errorf("%s %s has the namespace %s", o.GetKind(), o.GetName(), o.GetNamespace()))
		}
		if o.GetKind() == "CustomResourceDefinition" {
			crds[o.GetName()] = o
		}
	}
	csv := csvOf(objs)
	var examples []object
	if err := json.Unmarshal([]byte(csv.GetAnnotations()["alm-examples"]), &examples); err != nil {
		out = append(out, fmt.Errorf("alm-examples: %w", err))
	}
	for _, o := range ownedIn(csv) {
		kind, _ := o["kind"].(string)
		name, _ := o["name"].(string)
		if resources, _ := o["resources"].([]any); len(resources) == 0 {
			out = append(out, fmt.Errorf("%s lists no resources", kind))
		}
		schema, err := schemaOf(crds[name], o["version"])
		if err != nil {
			out = append(out, err)
			continue
		}
		// The spec fields that the examples use, and all status fields.
		for _, e := range examples {
			if used, _ := e.Object["spec"].(map[string]any); e.GetKind() == kind {
				out = append(out, undescribed(o, "specDescriptor", used)...)
			}
		}
		status, _, _ := unstructured.NestedMap(schema, "properties", "status", "properties")
		out = append(out, undescribed(o, "statusDescriptor", status)...)
	}
	return out
}

// undescribed returns an error for each field without a descriptor.
func undescribed(owned map[string]any, descriptor string, fields map[string]any) []error {
	var out []error
	list, _ := owned[descriptor+"s"].([]any)
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		described := slices.ContainsFunc(list, func(d any) bool {
			descriptor, _ := d.(map[string]any)
			return descriptor["path"] == field && descriptor["displayName"] != nil && descriptor["description"] != nil
		})
		if !described {
			out = append(out, fmt.Errorf("%s has no %s for %s", owned["kind"], descriptor, field))
		}
	}
	return out
}
