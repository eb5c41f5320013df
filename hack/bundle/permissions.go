// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// permissions are the rules of every ServiceAccount, in the form of a
// ClusterServiceVersion: OLM creates roles and bindings from them.
type permissions struct {
	namespaced, cluster []any

	// unbound are the roles for users, which stay separate objects.
	unbound []*object
}

// permissionsOf converts roles and bindings to permissions.
func permissionsOf(m *manifests) (*permissions, error) {
	rules := map[string]map[string][]any{"RoleBinding": {}, "ClusterRoleBinding": {}}
	bound := map[*object]bool{}
	for _, b := range m.bindings {
		role, err := roleOf(b, m.roles)
		if err != nil {
			return nil, err
		}
		bound[role] = true
		granted, _, err := unstructured.NestedSlice(role.Object, "rules")
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", role.GetKind(), role.GetName(), err)
		}
		subjects, _, err := unstructured.NestedSlice(b.Object, "subjects")
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", b.GetKind(), b.GetName(), err)
		}
		for _, s := range subjects {
			subject, _ := s.(map[string]any)
			name, _ := subject["name"].(string)
			if subject["kind"] != "ServiceAccount" || !slices.ContainsFunc(m.serviceAccounts, named(name)) {
				return nil, fmt.Errorf("%s %s: subject %v is not one of the ServiceAccounts", b.GetKind(), b.GetName(), subject)
			}
			of := rules[b.GetKind()]
			of[name] = append(of[name], granted...)
		}
	}
	return &permissions{
		namespaced: perServiceAccount(rules["RoleBinding"]),
		cluster:    perServiceAccount(rules["ClusterRoleBinding"]),
		unbound:    slices.DeleteFunc(slices.Clone(m.roles), func(r *object) bool { return bound[r] }),
	}, nil
}

// roleOf returns the role that a binding refers to.
func roleOf(binding *object, roles []*object) (*object, error) {
	kind, _, _ := unstructured.NestedString(binding.Object, "roleRef", "kind")
	name, _, _ := unstructured.NestedString(binding.Object, "roleRef", "name")
	i := slices.IndexFunc(roles, func(r *object) bool { return r.GetKind() == kind && r.GetName() == name })
	if i < 0 {
		return nil, fmt.Errorf("%s %s refers to %s %s, which does not exist", binding.GetKind(), binding.GetName(), kind, name)
	}
	return roles[i], nil
}

func perServiceAccount(rules map[string][]any) []any {
	var out []any
	for _, name := range slices.Sorted(maps.Keys(rules)) {
		out = append(out, map[string]any{"serviceAccountName": name, "rules": rules[name]})
	}
	return out
}

// extraServiceAccounts are those that no Deployment uses. OLM creates the others,
// and rejects a bundle that contains them as files.
func extraServiceAccounts(m *manifests) []*object {
	return slices.DeleteFunc(slices.Clone(m.serviceAccounts), func(sa *object) bool {
		return slices.ContainsFunc(m.deployments, func(d *object) bool {
			used, _, _ := unstructured.NestedString(d.Object, "spec", "template", "spec", "serviceAccountName")
			return cmp.Or(used, "default") == sa.GetName()
		})
	})
}

func named(name string) func(*object) bool {
	return func(obj *object) bool { return obj.GetName() == name }
}
