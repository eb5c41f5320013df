// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"context"
	"fmt"
	"io"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// objects is a file with the objects of a kind.
type objects struct {
	name, about string
	list        client.ObjectList
	options     []client.ListOption
	// keep says which ones; nil: all.
	keep func(client.Object) bool
}

// objectsOf are the files with objects. namespace is the controller's and the agents'.
func objectsOf(namespace string) []objects {
	in := client.InNamespace(namespace)
	ours := []client.ListOption{in, client.MatchingLabels{"app.kubernetes.io/name": "fairlead"}}
	return []objects{
		{"fairlead/proxyconfigs.yaml", "the policies, and what the controller reports of them", &v1alpha1.ProxyConfigList{}, nil, nil},
		{"fairlead/proxyrollouts.yaml", "how changed policies reach the nodes", &v1alpha1.ProxyRolloutList{}, nil, nil},
		{"fairlead/noderulesets.yaml", "what each node is to program, and what its agent reports", &v1alpha1.NodeRuleSetList{}, nil, nil},
		{"fairlead/nodeheartbeats.yaml", "when each agent was last there", &v1alpha1.NodeHeartbeatList{}, nil, nil},
		{"fairlead/serviceruleslices.yaml", "the rules of Services that the controller has compiled", &v1alpha1.ServiceRuleSliceList{}, nil, nil},
		{"fairlead/controllerrevisions.yaml", "the policies that ProxyConfigs have had", &appsv1.ControllerRevisionList{},
			[]client.ListOption{in, client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ControllerName}}, nil},
		{"cluster/nodes.yaml", "the Nodes: labels, Pod CIDRs, addresses, conditions", &corev1.NodeList{}, nil, nil},
		{"cluster/services.yaml", "the Services, without annotations", &corev1.ServiceList{}, nil, nil},
		{"cluster/endpointslices.yaml", "the endpoints of Services, without annotations", &discoveryv1.EndpointSliceList{}, nil, nil},
		{"cluster/events.yaml", "events about Fairlead's objects and Pods, and those of its controller and agents", &corev1.EventList{}, nil,
			func(o client.Object) bool { return isOurs(o.(*corev1.Event), namespace) }},
		{"workloads/pods.yaml", "the Pods of controller and agents, without the values of their environment", &corev1.PodList{}, ours, nil},
		{"workloads/daemonsets.yaml", "the agents' DaemonSet", &appsv1.DaemonSetList{}, ours, nil},
		{"workloads/deployments.yaml", "the controller's Deployment", &appsv1.DeploymentList{}, ours, nil},
	}
}

// isOurs says whether an event is of Fairlead, or about something of it.
func isOurs(e *corev1.Event, namespace string) bool {
	about := e.InvolvedObject
	return strings.HasPrefix(about.APIVersion, v1alpha1.GroupVersion.Group+"/") ||
		strings.HasPrefix(e.Source.Component, "fairlead") || strings.HasPrefix(e.ReportingController, "fairlead") ||
		about.Namespace == namespace && (about.Kind == "Pod" || about.Kind == "DaemonSet" || about.Kind == "Deployment" || about.Kind == "ReplicaSet")
}

// pageSize is how many objects are in memory at once.
const pageSize = 500

// write reads the objects page by page and writes them as YAML.
func (f *objects) write(ctx context.Context, api client.Reader, scheme *runtime.Scheme, to io.Writer) error {
	list := f.list
	for {
		options := append([]client.ListOption{client.Limit(pageSize), client.Continue(list.GetContinue())}, f.options...)
		if err := api.List(ctx, list, options...); err != nil {
			return fmt.Errorf("list: %w", err)
		}
		err := apimeta.EachListItem(list, func(item runtime.Object) error {
			o := item.(client.Object)
			if f.keep != nil && !f.keep(o) {
				return nil
			}
			return writeObject(o, scheme, to)
		})
		if err != nil || list.GetContinue() == "" {
			return err
		}
	}
}

func writeObject(o client.Object, scheme *runtime.Scheme, to io.Writer) error {
	cleaned := clean(o)
	kind, err := apiutil.GVKForObject(o, scheme)
	if err != nil {
		return fmt.Errorf("find the kind of %T: %w", o, err)
	}
	cleaned.GetObjectKind().SetGroupVersionKind(kind)
	text, err := yaml.Marshal(cleaned)
	if err != nil {
		return fmt.Errorf("encode %s: %w", o.GetName(), err)
	}
	_, err = fmt.Fprintf(to, "---\n%s", text)
	return err
}
