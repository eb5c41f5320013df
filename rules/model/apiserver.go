// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// APIServerService is the Service of the apiservers, which every cluster has. Its
// EndpointSlice of the same name is theirs, too: every address in it is an apiserver. The
// label of the Service can be on slices of anyone with write access to the namespace.
var APIServerService = types.NamespacedName{Namespace: metav1.NamespaceDefault, Name: "kubernetes"}
