// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// TestSchemas checks that every field has a description and a limit.
func TestSchemas(t *testing.T) {
	for _, crd := range environment.CRDs {
		schema := crd.Spec.Versions[0].Schema.OpenAPIV3Schema
		for _, part := range []string{"spec", "status"} {
			if s, ok := schema.Properties[part]; ok {
				checkSchema(t, crd.Spec.Names.Kind+"."+part, s)
			}
		}
		for _, c := range crd.Spec.Versions[0].AdditionalPrinterColumns {
			if c.Name == "" || c.JSONPath == "" {
				t.Errorf("%s: print column %v", crd.Name, c)
			}
		}
	}
	if len(environment.CRDs) != 5 {
		t.Errorf("got %d CRDs, want 5", len(environment.CRDs))
	}
}

func checkSchema(t *testing.T, path string, s apiextensionsv1.JSONSchemaProps) {
	switch s.Type {
	case "string":
		if s.MaxLength == nil && len(s.Enum) == 0 && s.Format == "" {
			t.Errorf("%s: no maximum length", path)
		}
	case "array":
		if s.MaxItems == nil {
			t.Errorf("%s: no maximum of items", path)
		}
		if s.XListType == nil {
			t.Errorf("%s: no list type", path)
		}
		checkSchema(t, path+"[]", *s.Items.Schema)
	case "object":
		if s.AdditionalProperties != nil {
			if s.MaxProperties == nil {
				t.Errorf("%s: no maximum of properties", path)
			}
			checkSchema(t, path+"{}", *s.AdditionalProperties.Schema)
		}
	}
	for name, p := range s.Properties {
		if p.Description == "" {
			t.Errorf("%s.%s: no description", path, name)
		}
		checkSchema(t, path+"."+name, p)
	}
}
