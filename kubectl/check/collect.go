// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package check

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/kubectl/status"
)

// Facts are what a Report follows from.
type Facts struct {
	// Served are the resources of proxy.fairlead.dev/v1alpha1 that the apiserver has.
	Served []string
	// Denied are the rights that the user has not.
	Denied []Right
	// Read says that the fields below were read: all resources are served, and no right is denied.
	Read bool

	Namespace   string
	Controllers []appsv1.Deployment
	Agents      []corev1.Pod
	// Reported is what controller and agents have written into the API.
	Reported status.Input

	// Kernels is what was read on the nodes; nil: nothing was.
	Kernels *Kernels

	// report and skew follow from Reported. skew is how far a node's clock is ahead of the
	// apiserver's, where it is too far.
	report status.Report
	skew   map[string]time.Duration
}

// Right is a verb on a resource; without a namespace in all of them.
type Right struct {
	Verb, Group, Resource, Namespace string
}

func (r Right) String() string {
	text := r.Verb + " " + r.Resource
	if r.Group != "" {
		text += "." + r.Group
	}
	if r.Namespace != "" {
		text += " in the namespace " + r.Namespace
	}
	return text
}

// resources are the kinds of the API.
var resources = []string{"nodeheartbeats", "noderulesets", "proxyconfigs", "proxyrollouts", "serviceruleslices"}

// rights are those that the plugin reads with.
func rights(namespace string) []Right {
	out := []Right{
		{"get", "", "services", ""}, {"get", "", "pods", ""}, {"list", "discovery.k8s.io", "endpointslices", ""},
		{"list", "", "pods", namespace}, {"list", "apps", "deployments", namespace}, {"list", "apps", "controllerrevisions", namespace},
	}
	for _, resource := range resources {
		out = append(out, Right{"list", v1alpha1.GroupVersion.Group, resource, ""})
	}
	return out
}

// The components of an installation, by their label.
const (
	component  = "app.kubernetes.io/component"
	controller = "controller"
	agent      = "agent"
)

// Collect reads the facts. namespace is the controller's and the agents'.
func Collect(ctx context.Context, api client.Client, served discovery.ServerResourcesInterface, namespace string, now time.Time) (Facts, error) {
	facts := Facts{Namespace: namespace}
	list, err := served.ServerResourcesForGroupVersion(v1alpha1.GroupVersion.String())
	if err != nil && !apierrors.IsNotFound(err) {
		return facts, fmt.Errorf("read what the apiserver serves: %w", err)
	}
	if err == nil {
		for _, resource := range list.APIResources {
			facts.Served = append(facts.Served, resource.Name)
		}
	}
	for _, right := range rights(namespace) {
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Verb: right.Verb, Group: right.Group, Resource: right.Resource, Namespace: right.Namespace,
			},
		}}
		if err := api.Create(ctx, review); err != nil {
			return facts, fmt.Errorf("review the right to %s: %w", right, err)
		}
		if !review.Status.Allowed {
			facts.Denied = append(facts.Denied, right)
		}
	}
	if facts.Read = len(missing(facts.Served)) == 0 && len(facts.Denied) == 0; !facts.Read {
		return facts, nil
	}
	var deployments appsv1.DeploymentList
	var pods corev1.PodList
	for list, name := range map[client.ObjectList]string{&deployments: controller, &pods: agent} {
		if err := api.List(ctx, list, client.InNamespace(namespace), client.MatchingLabels{"app.kubernetes.io/name": "fairlead", component: name}); err != nil {
			return facts, fmt.Errorf("list %T: %w", list, err)
		}
	}
	facts.Controllers, facts.Agents = deployments.Items, pods.Items
	facts.Reported, err = status.Collect(ctx, api, now)
	return facts, err
}
