// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/fairlead-proxy/fairlead/hack/internal/manifest"
)

type object = unstructured.Unstructured

// acceptedKinds are the kinds that OLM installs from a bundle. All others make
// an InstallPlan fail, also a DaemonSet, so the controller creates the agents.
// Deployments are accepted only inside the ClusterServiceVersion.
// Source: operator-registry, pkg/lib/bundle/supported_resources.go.
var acceptedKinds = []string{
	"ClusterServiceVersion", "CustomResourceDefinition",
	"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "ServiceAccount",
	"ConfigMap", "Secret", "Service", "NetworkPolicy", "PodDisruptionBudget", "PriorityClass", "VerticalPodAutoscaler",
	"PrometheusRule", "ServiceMonitor",
	"ConsoleCLIDownload", "ConsoleLink", "ConsolePlugin", "ConsoleQuickStart", "ConsoleYAMLSample",
}

// manifests are all objects to install, sorted by their use in the bundle.
type manifests struct {
	csv             *object // the hand-written part
	crds            []*object
	deployments     []*object
	serviceAccounts []*object
	roles           []*object // Roles and ClusterRoles
	bindings        []*object // of both kinds
	examples        []*object // objects of Fairlead's kinds
	others          []*object // files of the bundle
}

// readManifests reads YAML documents. It fails on objects that a bundle cannot
// contain, except the namespace, which the user of OLM chooses.
func readManifests(r io.Reader) (*manifests, error) {
	objects, err := manifest.Read(r)
	if err != nil {
		return nil, err
	}
	m := &manifests{}
	var rest []*object
	for _, obj := range objects {
		if !m.sort(obj) {
			rest = append(rest, obj)
		}
	}
	if m.csv == nil || len(m.deployments) == 0 {
		return nil, errors.New("no ClusterServiceVersion or no Deployment among them")
	}
	// All CRDs are known now.
	for _, obj := range rest {
		switch {
		case m.owns(obj):
			m.examples = append(m.examples, obj)
		case slices.Contains(acceptedKinds, obj.GetKind()):
			m.others = append(m.others, obj)
		default:
			return nil, fmt.Errorf("OLM accepts no %s in a bundle (%s)", obj.GetKind(), obj.GetName())
		}
	}
	return m, nil
}

// sort adds an object to its list and reports whether there is one.
func (m *manifests) sort(obj *object) bool {
	switch obj.GetKind() {
	case "ClusterServiceVersion":
		m.csv = obj
	case "CustomResourceDefinition":
		m.crds = append(m.crds, obj)
	case "Deployment":
		m.deployments = append(m.deployments, obj)
	case "ServiceAccount":
		m.serviceAccounts = append(m.serviceAccounts, obj)
	case "Role", "ClusterRole":
		m.roles = append(m.roles, obj)
	case "RoleBinding", "ClusterRoleBinding":
		m.bindings = append(m.bindings, obj)
	case "Namespace":
	default:
		return false
	}
	return true
}

// owns reports whether one of the CRDs defines the kind of an object.
func (m *manifests) owns(obj *object) bool {
	return slices.ContainsFunc(m.crds, func(crd *object) bool {
		kind, _, _ := unstructured.NestedString(crd.Object, "spec", "names", "kind")
		group, _, _ := unstructured.NestedString(crd.Object, "spec", "group")
		return kind == obj.GetKind() && group == obj.GroupVersionKind().Group
	})
}
