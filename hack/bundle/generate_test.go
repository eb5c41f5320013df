// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// little are the minimal manifests of a bundle.
const little = `
{apiVersion: operators.coreos.com/v1alpha1, kind: ClusterServiceVersion, metadata: {name: x, annotations: {a: b}}, spec: {
  customresourcedefinitions: {owned: [{kind: Thing, version: v1, name: things.example.org, specDescriptors: [
    {path: size}, {path: shape.kind, x-descriptors: [more]}], statusDescriptors: [{path: phase}]}]}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: system}}
---
{apiVersion: example.org/v1, kind: Thing, metadata: {name: sample}, spec: {size: 1}}
---
{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: things.example.org}, spec: {
  group: example.org, names: {kind: Thing}, versions: [{name: v1, schema: {openAPIV3Schema: {description: A thing., properties: {
    spec: {properties: {size: {type: integer, description: How big.}, shape: {properties: {kind: {type: string, enum: [A, B]}}}}},
    status: {properties: {phase: {type: string}}}}}}}]}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: manager, namespace: system}, spec: {template: {spec: {
  serviceAccountName: manager, containers: [{name: m, image: x, env: [{name: RELATED_IMAGE_AGENT, value: x}]}]}}}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: manager, namespace: system}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: agent, namespace: system}}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: read}, rules: [{verbs: [get]}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: review}, rules: [{verbs: [create]}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: read, namespace: system}, rules: [{verbs: [patch]}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: people}, rules: [{verbs: [list]}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: a}, roleRef: {kind: ClusterRole, name: read},
  subjects: [{kind: ServiceAccount, name: manager}, {kind: ServiceAccount, name: agent}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: b}, roleRef: {kind: ClusterRole, name: review},
  subjects: [{kind: ServiceAccount, name: manager}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: c, namespace: system}, roleRef: {kind: Role, name: read},
  subjects: [{kind: ServiceAccount, name: manager}]}
`

var littleOptions = options{version: "1.2.3", image: "controller:v1", agentImage: "agent:v1", channels: "candidate", defaultChannel: "candidate"}

func generateFrom(text string) (map[string][]byte, error) {
	m, err := readManifests(strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	return generate(m, littleOptions, []byte("<svg/>"))
}

func TestGenerate(t *testing.T) {
	files, err := generateFrom(little)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"bundle.Dockerfile",
		"bundle/manifests/agent_v1_serviceaccount.yaml",
		"bundle/manifests/example.org_things.yaml",
		"bundle/manifests/fairlead.clusterserviceversion.yaml",
		"bundle/manifests/people_rbac.authorization.k8s.io_v1_clusterrole.yaml",
		"bundle/metadata/annotations.yaml",
	}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(files))); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	for name, text := range files {
		if strings.Contains(string(text), "namespace:") {
			t.Errorf("%s names a namespace:\n%s", name, text)
		}
	}
	csv := object{}
	if err := yaml.Unmarshal(files["bundle/manifests/fairlead.clusterserviceversion.yaml"], &csv.Object); err != nil {
		t.Fatal(err)
	}
	rule := func(verb string) any { return map[string]any{"verbs": []any{verb}} }
	wanted := map[string]any{
		"metadata.name": "fairlead.v1.2.3",
		"spec.version":  "1.2.3",
		"spec.install.spec.permissions": []any{
			map[string]any{"serviceAccountName": "manager", "rules": []any{rule("patch")}}},
		"spec.install.spec.clusterPermissions": []any{
			map[string]any{"serviceAccountName": "agent", "rules": []any{rule("get")}},
			map[string]any{"serviceAccountName": "manager", "rules": []any{rule("get"), rule("create")}}},
		"spec.install.spec.deployments": []any{map[string]any{"name": "manager", "label": map[string]any{},
			"spec": map[string]any{"template": map[string]any{"spec": map[string]any{"serviceAccountName": "manager",
				"containers": []any{map[string]any{"name": "m", "image": "controller:v1",
					"env": []any{map[string]any{"name": "RELATED_IMAGE_AGENT", "value": "agent:v1"}}}}}}}}},
		"spec.customresourcedefinitions.owned": []any{map[string]any{
			"kind": "Thing", "version": "v1", "name": "things.example.org", "description": "A thing.",
			"specDescriptors": []any{
				map[string]any{"path": "size", "description": "How big.", "x-descriptors": []any{uiDescriptor + "number"}},
				map[string]any{"path": "shape.kind", "description": nil, "x-descriptors": []any{uiDescriptor + "select:A", uiDescriptor + "select:B", "more"}}},
			"statusDescriptors": []any{map[string]any{"path": "phase", "description": nil, "x-descriptors": []any{"urn:alm:descriptor:text"}}},
		}},
	}
	for path, want := range wanted {
		got, _, err := unstructured.NestedFieldNoCopy(csv.Object, strings.Split(path, ".")...)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s (-want +got): %v\n%s", path, err, diff)
		}
	}
	again, err := generateFrom(little)
	if diff := cmp.Diff(files, again); diff != "" || err != nil {
		t.Errorf("not the same twice: %v\n%s", err, diff)
	}
}

// TestRefusesManifests checks that manifests that OLM rejects are an error.
func TestRefusesManifests(t *testing.T) {
	cases := map[string]struct{ old, new, want string }{
		"a DaemonSet":              {"kind: Namespace", "kind: DaemonSet", "OLM accepts no DaemonSet"},
		"a user among subjects":    {"subjects: [{kind: ServiceAccount, name: manager}]", "subjects: [{kind: User, name: manager}]", "is not one of the ServiceAccounts"},
		"a role that is not there": {"roleRef: {kind: Role, name: read}", "roleRef: {kind: Role, name: gone}", "refers to Role gone"},
		"no place for the image":   {"RELATED_IMAGE_AGENT", "OTHER", "no environment variable RELATED_IMAGE_AGENT"},
		"a field that is not":      {"{path: size}", "{path: sice}", "the CRD has no field spec.sice"},
		"a version that is not":    {"version: v1, name: things", "version: v2, name: things", "has no version v2"},
		"a CRD without an owner":   {"name: things.example.org, specD", "name: others.example.org, specD", `"others.example.org" does not exist`},
		"no sample":                {"kind: Thing, metadata", "kind: Namespace, metadata", "no samples"},
		"no Deployment":            {"kind: Deployment", "kind: Namespace", "no Deployment"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(little, tc.old, tc.new, 1)
			if text == little {
				t.Fatal("nothing to replace")
			}
			if _, err := generateFrom(text); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error with %q", err, tc.want)
			}
		})
	}
}
