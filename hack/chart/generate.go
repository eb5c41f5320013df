// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// generated is the first line of files that this program writes, and may remove.
const generated = "# Generated from config/default by `make chart`: do not edit.\n"

// namespace is that of config/default. A chart is installed into the namespace of its release.
const namespace = "fairlead-system"

// files are the files of a chart that kinds are in. Helm installs what is in crds/ before the
// rest, and neither changes nor removes it afterwards.
var files = map[string]string{
	"Namespace":                        "templates/namespace.yaml",
	"ServiceAccount":                   "templates/rbac.yaml",
	"Role":                             "templates/rbac.yaml",
	"RoleBinding":                      "templates/rbac.yaml",
	"ClusterRole":                      "templates/rbac.yaml",
	"ClusterRoleBinding":               "templates/rbac.yaml",
	"Deployment":                       "templates/controller.yaml",
	"Service":                          "templates/controller.yaml",
	"DaemonSet":                        "templates/agent.yaml",
	"ValidatingAdmissionPolicy":        "templates/admission.yaml",
	"ValidatingAdmissionPolicyBinding": "templates/admission.yaml",
}

// generate returns the files of the chart, by their names.
func generate(objects []*unstructured.Unstructured) (map[string][]byte, error) {
	out := map[string]*bytes.Buffer{}
	for _, object := range objects {
		name, crd := files[object.GetKind()], object.GetKind() == "CustomResourceDefinition"
		if crd {
			name = "crds/" + object.GetName() + ".yaml"
		}
		if name == "" {
			return nil, fmt.Errorf("no file of the chart is for a %s (%s)", object.GetKind(), object.GetName())
		}
		text, err := render(object, crd)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
		}
		if out[name] == nil {
			out[name] = &bytes.Buffer{}
		} else {
			out[name].WriteString("---\n")
		}
		out[name].Write(text)
	}
	texts := map[string][]byte{}
	for name, text := range out {
		texts[name] = text.Bytes()
	}
	return texts, nil
}

// render returns an object as a template; a CRD as it is.
func render(object *unstructured.Unstructured, crd bool) ([]byte, error) {
	if crd {
		return yaml.Marshal(object.Object)
	}
	object = object.DeepCopy()
	if err := substitute(object); err != nil {
		return nil, err
	}
	text, err := yaml.Marshal(object.Object)
	if err != nil {
		return nil, err
	}
	if bytes.Contains(text, []byte("{{")) {
		return nil, fmt.Errorf("it has what Helm takes for an action: {{")
	}
	text = bytes.ReplaceAll(text, []byte(namespace), []byte("{{ .Release.Namespace }}"))
	return frame(object.GetKind(), expand(text)), nil
}

// frame makes the Namespace conditional. Helm cannot install it together with a release in it.
// Where it exists, it is not the chart's; `helm template` knows no cluster and renders it.
func frame(kind string, text []byte) []byte {
	if kind != "Namespace" {
		return text
	}
	return []byte("{{- if not (lookup \"v1\" \"Namespace\" \"\" .Release.Namespace) }}\n" + string(text) + "{{- end }}\n")
}

// substitute replaces what values.yaml sets by marks, which expand makes actions of.
func substitute(object *unstructured.Unstructured) error {
	var values string
	switch object.GetKind() {
	case "Deployment":
		values = ".Values.controller"
		object.Object["spec"].(map[string]any)["replicas"] = value(values + ".replicas")
	case "DaemonSet":
		values = ".Values.agent"
	default:
		return nil
	}
	pod, ok, err := unstructured.NestedMap(object.Object, "spec", "template", "spec")
	if err != nil || !ok {
		return fmt.Errorf("no Pod: %w", err)
	}
	containers, ok := pod["containers"].([]any)
	if !ok || len(containers) != 1 {
		return fmt.Errorf("%d containers instead of one", len(containers))
	}
	container := containers[0].(map[string]any)
	container["image"] = value(fmt.Sprintf(`include "fairlead.image" (list $ %s.image)`, values))
	container["imagePullPolicy"] = value(values + ".image.pullPolicy")
	container["resources"] = block(values + ".resources")
	pod["imagePullSecrets"] = block(".Values.imagePullSecrets")
	for _, field := range []string{"nodeSelector", "tolerations", "affinity"} {
		pod[field] = block(values + "." + field)
	}
	pod["priorityClassName"] = value(values + ".priorityClassName")
	return unstructured.SetNestedMap(object.Object, pod, "spec", "template", "spec")
}

// value marks a scalar, block a map or list that is left out if it is empty.
func value(expression string) string { return "@value " + expression }
func block(expression string) string { return "@block " + expression }

var mark = regexp.MustCompile(`(?m)^( *)(- )?(\w+): '@(value|block) (.*)'$`)

// expand makes actions of the marks.
func expand(text []byte) []byte {
	return mark.ReplaceAllFunc(text, func(line []byte) []byte {
		m := mark.FindSubmatch(line)
		indent, dash, key, expression := string(m[1]), string(m[2]), string(m[3]), string(m[5])
		if string(m[4]) == "value" {
			return fmt.Appendf(nil, "%s%s%s: {{ %s }}", indent, dash, key, expression)
		}
		inner := len(indent) + len(dash)
		pad := strings.Repeat(" ", inner)
		return fmt.Appendf(nil, "%s{{- with %s }}\n%s%s: {{- toYaml . | nindent %d }}\n%s{{- end }}", pad, expression, pad, key, inner+2, pad)
	})
}
