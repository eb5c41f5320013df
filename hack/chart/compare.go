// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// compare returns which objects are there once only, or differ.
func compare(want, got []*unstructured.Unstructured) error {
	var errs []error
	wanted, err := index(want)
	errs = append(errs, err)
	rendered, err := index(got)
	errs = append(errs, err)
	for _, id := range slices.Sorted(maps.Keys(wanted)) {
		switch {
		case rendered[id] == nil:
			errs = append(errs, fmt.Errorf("%s: the chart does not have it", id))
		case !reflect.DeepEqual(wanted[id].Object, rendered[id].Object):
			errs = append(errs, fmt.Errorf("%s differs. The chart has\n%swhere this is wanted:\n%s", id, text(rendered[id]), text(wanted[id])))
		}
		delete(rendered, id)
	}
	for _, id := range slices.Sorted(maps.Keys(rendered)) {
		errs = append(errs, fmt.Errorf("%s: only the chart has it", id))
	}
	return errors.Join(errs...)
}

func index(objects []*unstructured.Unstructured) (map[string]*unstructured.Unstructured, error) {
	if len(objects) == 0 {
		return nil, errors.New("no objects")
	}
	out := map[string]*unstructured.Unstructured{}
	for _, object := range objects {
		id := fmt.Sprintf("%s %s/%s", object.GroupVersionKind(), object.GetNamespace(), object.GetName())
		if out[id] != nil {
			return nil, fmt.Errorf("%s is there twice", id)
		}
		out[id] = object
	}
	return out, nil
}

func text(object *unstructured.Unstructured) string {
	out, err := yaml.Marshal(object.Object)
	if err != nil {
		return err.Error() + "\n"
	}
	return string(out)
}
