// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead-proxy/fairlead/hack/internal/manifest"
)

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: c, namespace: fairlead-system}
spec:
  replicas: 2
  template:
    spec:
      containers:
      - args: [--a]
        image: c:latest
        resources: {requests: {cpu: 1m}}
      tolerations: [{operator: Exists}]
`

const deploymentTemplate = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: c
  namespace: {{ .Release.Namespace }}
spec:
  replicas: {{ .Values.controller.replicas }}
  template:
    spec:
      {{- with .Values.controller.affinity }}
      affinity: {{- toYaml . | nindent 8 }}
      {{- end }}
      containers:
      - args:
        - --a
        image: {{ include "fairlead.image" (list $ .Values.controller.image) }}
        imagePullPolicy: {{ .Values.controller.image.pullPolicy }}
        {{- with .Values.controller.resources }}
        resources: {{- toYaml . | nindent 10 }}
        {{- end }}
      {{- with .Values.imagePullSecrets }}
      imagePullSecrets: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.controller.nodeSelector }}
      nodeSelector: {{- toYaml . | nindent 8 }}
      {{- end }}
      priorityClassName: {{ .Values.controller.priorityClassName }}
      {{- with .Values.controller.tolerations }}
      tolerations: {{- toYaml . | nindent 8 }}
      {{- end }}
`

func TestGenerate(t *testing.T) {
	role := "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata:\n  name: r\n  namespace: "
	crd := "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  name: things.example.com\n"
	for name, tc := range map[string]struct {
		in   string
		want map[string]string
		fail string
	}{
		"objects of one file": {
			in:   role + "fairlead-system\n---\n" + role + "kube-system\n",
			want: map[string]string{"templates/rbac.yaml": role + "{{ .Release.Namespace }}\n---\n" + role + "kube-system\n"},
		},
		"a CRD is no template": {
			in:   crd + "spec:\n  description: '{{ fairlead-system }}'\n",
			want: map[string]string{"crds/things.example.com.yaml": crd + "spec:\n  description: '{{ fairlead-system }}'\n"},
		},
		"the namespace": {
			in: "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: fairlead-system\n",
			want: map[string]string{"templates/namespace.yaml": "{{- if not (lookup \"v1\" \"Namespace\" \"\" .Release.Namespace) }}\n" +
				"apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {{ .Release.Namespace }}\n{{- end }}\n"},
		},
		"values":              {in: deployment, want: map[string]string{"templates/controller.yaml": deploymentTemplate}},
		"a kind without file": {in: "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n", fail: "no file of the chart is for a Secret (s)"},
		"an action in an object": {
			in:   "apiVersion: v1\nkind: Service\nmetadata: {name: s, annotations: {a: '{{ x }}'}}\n",
			fail: "what Helm takes for an action",
		},
		"two containers": {in: strings.Replace(deployment, "      - args", "      - {image: x}\n      - args", 1), fail: "2 containers instead of one"},
	} {
		t.Run(name, func(t *testing.T) {
			objects, err := manifest.Read(strings.NewReader(tc.in))
			if err != nil {
				t.Fatal(err)
			}
			files, err := generate(objects)
			if tc.fail != "" {
				if err == nil || !strings.Contains(err.Error(), tc.fail) {
					t.Errorf("error %v, want %q", err, tc.fail)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for name, text := range files {
				got[name] = string(text)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCompare(t *testing.T) {
	a, b := "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n", "apiVersion: v1\nkind: Service\nmetadata: {name: b}\n"
	for name, tc := range map[string]struct{ want, got, fail string }{
		"equal, in another order": {want: a + "---\n" + b, got: "---\n" + b + "---\n" + a + "---\n"},
		"one is missing":          {want: a + "---\n" + b, got: a, fail: "Service /b: the chart does not have it"},
		"one too many":            {want: a, got: a + "---\n" + b, fail: "Service /b: only the chart has it"},
		"one differs":             {want: a, got: a + "spec: {}\n", fail: "Service /a differs"},
		"one twice":               {want: a, got: a + "---\n" + a, fail: "/a is there twice"},
		"nothing":                 {want: a, got: "", fail: "no objects"},
	} {
		t.Run(name, func(t *testing.T) {
			want, err := manifest.Read(strings.NewReader(tc.want))
			if err != nil {
				t.Fatal(err)
			}
			got, err := manifest.Read(strings.NewReader(tc.got))
			if err != nil {
				t.Fatal(err)
			}
			err = compare(want, got)
			if tc.fail == "" && err != nil || tc.fail != "" && (err == nil || !strings.Contains(err.Error(), tc.fail)) {
				t.Errorf("error %v, want %q", err, tc.fail)
			}
		})
	}
}
