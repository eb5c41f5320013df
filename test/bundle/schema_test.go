// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/operator-framework/api/crds"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"sigs.k8s.io/yaml"
)

// TestSchema checks the ClusterServiceVersion as an apiserver does that has
// OLM's CRDs: against the schema, and for fields that it does not have, which
// would be dropped without a word.
func TestSchema(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, csvFile))
	if err != nil {
		t.Fatal(err)
	}
	var csv map[string]any
	if err := yaml.UnmarshalStrict(text, &csv); err != nil {
		t.Fatal(err)
	}
	props := &apiextensions.JSONSchemaProps{}
	published := crds.ClusterServiceVersion().Spec.Versions[0].Schema.OpenAPIV3Schema
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(published, props, nil); err != nil {
		t.Fatal(err)
	}
	validator, _, err := validation.NewSchemaValidator(props)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range validation.ValidateCustomResource(nil, csv, validator) {
		t.Error(err)
	}
	structural, err := schema.NewStructural(props)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range pruning.PruneWithOptions(csv, structural, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}) {
		t.Errorf("unknown field %s", path)
	}
}
