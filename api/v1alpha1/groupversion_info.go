// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 holds the API of Fairlead: ProxyConfig, which a person
// writes, and NodeRuleSet and ServiceRuleSlice, which the controller writes
// and the agents read. A node's desired rules are a pure function of its
// NodeRuleSet and of all ServiceRuleSlices (see package rules).
//
// +kubebuilder:object:generate=true
// +kubebuilder:ac:generate=true
// +groupName=proxy.fairlead.dev
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	// GroupVersion is the group and version of every kind in this package.
	GroupVersion = schema.GroupVersion{Group: "proxy.fairlead.dev", Version: "v1alpha1"}

	// SchemeGroupVersion is the name that generated apply configurations use.
	SchemeGroupVersion = GroupVersion

	// SchemeBuilder registers the kinds of this package.
	SchemeBuilder = runtime.NewSchemeBuilder(addKnownTypes)

	// AddToScheme adds the kinds of this package to a scheme.
	AddToScheme = SchemeBuilder.AddToScheme
)

func addKnownTypes(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion,
		&ProxyConfig{}, &ProxyConfigList{},
		&NodeRuleSet{}, &NodeRuleSetList{},
		&NodeHeartbeat{}, &NodeHeartbeatList{},
		&ProxyRollout{}, &ProxyRolloutList{},
		&ServiceRuleSlice{}, &ServiceRuleSliceList{},
	)
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
