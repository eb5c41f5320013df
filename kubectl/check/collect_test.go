// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package check

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	fakediscovery "k8s.io/client-go/discovery/fake"
	clienttesting "k8s.io/client-go/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/kubectl/internal/kubectltest"
)

// TestCollect checks that the facts come from the controller's namespace, and that nothing else is read
// without the kinds or the rights for it.
func TestCollect(t *testing.T) {
	cases := map[string]struct {
		served, denied string
		want           bool
	}{
		"all":               {"", "", true},
		"no kinds":          {"-", "", false},
		"a right is denied": {"", "proxyrollouts", false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			f := well()
			f.Controllers[0].Labels = map[string]string{"app.kubernetes.io/name": "fairlead", component: controller}
			f.Agents[0].Labels = map[string]string{"app.kubernetes.io/name": "fairlead", component: agent}
			elsewhere := f.Agents[0].DeepCopy()
			elsewhere.Namespace = "shop"
			api := fake.NewClientBuilder().WithScheme(kubectltest.Scheme(t)).
				WithObjects(&f.Controllers[0], &f.Agents[0], &f.Agents[1], elsewhere, &f.Reported.Configs[0], &f.Reported.Nodes[0]).
				WithInterceptorFuncs(interceptor.Funcs{Create: func(_ context.Context, _ client.WithWatch, o client.Object, _ ...client.CreateOption) error {
					review := o.(*authorizationv1.SelfSubjectAccessReview)
					review.Status.Allowed = review.Spec.ResourceAttributes.Resource != tc.denied
					return nil
				}}).Build()
			served := &fakediscovery.FakeDiscovery{Fake: &clienttesting.Fake{}}
			if tc.served == "" {
				list := &metav1.APIResourceList{GroupVersion: v1alpha1.GroupVersion.String()}
				for _, r := range resources {
					list.APIResources = append(list.APIResources, metav1.APIResource{Name: r})
				}
				served.Resources = []*metav1.APIResourceList{list}
			}
			got, err := Collect(context.Background(), api, served, "fairlead-system", now)
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			if tc.want {
				n = 1
			}
			counts := []int{len(got.Controllers), len(got.Agents), len(got.Reported.Configs), len(got.Reported.Nodes)}
			if diff := cmp.Diff([]int{n, n, n, n}, counts); diff != "" || got.Read != tc.want {
				t.Errorf("Read is %v\n%s", got.Read, diff)
			}
		})
	}
}
