// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"fmt"

	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	agentmanifest "github.com/fairlead-proxy/fairlead/config/agent"
)

// Name is the name of the agent's DaemonSet, of its ServiceAccount and of the ConfigMap that
// its Pods mount.
const Name = "fairlead-agent"

// manifest returns the agent's DaemonSet with the names and the image of this cluster.
func manifest(namespace, image string) (*appsv1ac.DaemonSetApplyConfiguration, error) {
	ds := &appsv1ac.DaemonSetApplyConfiguration{}
	if err := yaml.UnmarshalStrict(agentmanifest.DaemonSet, ds); err != nil {
		return nil, fmt.Errorf("read the embedded manifest of the agent: %w", err)
	}
	ds.WithName(Name).WithNamespace(namespace).WithLabels(map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ControllerName})
	pod := ds.Spec.Template.Spec
	pod.WithServiceAccountName(Name)
	pod.Containers[0].WithImage(image)
	return ds, nil
}
