// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestPermissions checks that controller and agent have exactly the permissions that
// they need.
func TestPermissions(t *testing.T) {
	deploy(t)
	const ours = "proxy.fairlead.dev"
	type access struct{ verb, group, resource, subresource, namespace string }
	cases := map[string]struct {
		user            string
		allowed, denied []access
	}{
		"agent": {
			serviceAccount("fairlead-agent"),
			[]access{
				{"get", ours, "noderulesets", "", ""}, {"list", ours, "noderulesets", "", ""}, {"watch", ours, "noderulesets", "", ""},
				{"get", ours, "serviceruleslices", "", ""}, {"list", ours, "serviceruleslices", "", ""}, {"watch", ours, "serviceruleslices", "", ""},
				{"patch", ours, "noderulesets", "status", ""},
				{"create", ours, "nodeheartbeats", "", ""}, {"patch", ours, "nodeheartbeats", "", ""},
				{"get", "", "services", "", ""}, {"list", "discovery.k8s.io", "endpointslices", "", ""}, // before it removes held rules
			},
			[]access{
				{"update", ours, "noderulesets", "", ""}, {"patch", ours, "noderulesets", "", ""}, {"delete", ours, "noderulesets", "", ""},
				{"create", ours, "serviceruleslices", "", ""}, {"delete", ours, "serviceruleslices", "", ""},
				{"list", ours, "proxyconfigs", "", ""}, {"patch", ours, "proxyconfigs", "status", ""},
				{"get", ours, "nodeheartbeats", "", ""}, {"list", ours, "nodeheartbeats", "", ""}, {"delete", ours, "nodeheartbeats", "", ""},
				{"update", "coordination.k8s.io", "leases", "", systemNamespace},
				{"list", "", "services", "", ""}, {"watch", "", "services", "", ""}, {"update", "", "services", "", ""},
				{"watch", "discovery.k8s.io", "endpointslices", "", ""}, {"get", "discovery.k8s.io", "endpointslices", "", ""}, {"list", "", "nodes", "", ""},
				{"get", "", "secrets", "", systemNamespace}, {"list", "", "pods", "", ""}, {"update", "apps", "daemonsets", "", systemNamespace},
			},
		},
		"controller": {
			serviceAccount("fairlead-controller-manager"),
			[]access{
				{"watch", "", "services", "", ""}, {"watch", "discovery.k8s.io", "endpointslices", "", ""}, {"watch", "", "nodes", "", ""},
				{"watch", "networking.k8s.io", "servicecidrs", "", ""}, {"patch", ours, "serviceruleslices", "", ""}, {"delete", ours, "serviceruleslices", "", ""},
				{"patch", ours, "proxyconfigs", "status", ""},
				{"list", ours, "nodeheartbeats", "", ""}, {"watch", ours, "nodeheartbeats", "", ""},
				{"create", "apps", "controllerrevisions", "", systemNamespace}, {"patch", "apps", "controllerrevisions", "", systemNamespace},
				{"list", "apps", "controllerrevisions", "", systemNamespace}, {"watch", "apps", "controllerrevisions", "", systemNamespace},
				{"delete", "apps", "controllerrevisions", "", systemNamespace},
				{"create", "authentication.k8s.io", "tokenreviews", "", ""}, {"create", "coordination.k8s.io", "leases", "", systemNamespace},
			},
			[]access{
				{"update", "", "services", "", "default"}, {"patch", "", "nodes", "", ""}, {"patch", ours, "noderulesets", "status", ""},
				{"patch", ours, "nodeheartbeats", "", ""}, {"delete", ours, "nodeheartbeats", "", ""}, {"list", "", "pods", "", systemNamespace},
				{"patch", ours, "proxyconfigs", "", ""}, {"create", "apps", "daemonsets", "", "kube-system"}, {"delete", "apps", "daemonsets", "", systemNamespace},
				{"get", "", "secrets", "", systemNamespace}, {"list", "", "pods", "", ""}, {"create", "coordination.k8s.io", "leases", "", "kube-system"},
				{"create", "rbac.authorization.k8s.io", "clusterroles", "", ""},
				{"get", "admissionregistration.k8s.io", "validatingadmissionpolicies", "", ""}, // others than the installation's
				{"watch", "admissionregistration.k8s.io", "validatingadmissionpolicybindings", "", ""},
				{"patch", "admissionregistration.k8s.io", "validatingadmissionpolicies", "", ""},
				{"get", ours, "noderulesets", "", ""}, {"get", ours, "serviceruleslices", "", ""}, {"get", ours, "proxyconfigs", "", ""},
				{"update", ours, "serviceruleslices", "", ""}, {"deletecollection", ours, "serviceruleslices", "", ""},
				{"get", "discovery.k8s.io", "endpointslices", "", ""}, {"get", "networking.k8s.io", "servicecidrs", "", ""},
				{"get", "apps", "daemonsets", "", systemNamespace}, {"list", "apps", "daemonsets", "", "kube-system"},
				{"create", "apps", "daemonsets", "", systemNamespace}, {"patch", "apps", "daemonsets", "", systemNamespace},
				{"create", "apps", "controllerrevisions", "", "kube-system"}, {"list", "apps", "controllerrevisions", "", ""},
				{"delete", "apps", "controllerrevisions", "", "kube-system"}, {"deletecollection", "apps", "controllerrevisions", "", systemNamespace},
				{"create", "", "configmaps", "", systemNamespace}, {"patch", "", "configmaps", "", systemNamespace}, // others than the agents'
			},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			for want, list := range map[bool][]access{true: tc.allowed, false: tc.denied} {
				for _, a := range list {
					review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
						User: tc.user,
						ResourceAttributes: &authorizationv1.ResourceAttributes{
							Verb: a.verb, Group: a.group, Resource: a.resource, Subresource: a.subresource, Namespace: a.namespace},
					}}
					if err := api.Create(t.Context(), review); err != nil {
						t.Fatal(err)
					}
					if review.Status.Allowed != want {
						t.Errorf("%+v: allowed is %v, want %v", a, review.Status.Allowed, want)
					}
				}
			}
		})
	}
}

// rights of every user, in the form "verb resource.group".
var everybody = []string{
	"create selfsubjectaccessreviews.authorization.k8s.io", "create selfsubjectrulesreviews.authorization.k8s.io",
	"create selfsubjectreviews.authentication.k8s.io",
}

// rightsOf lists what RBAC grants to a user in a namespace and in the whole cluster, in the form
// "verb resource.group", with "/name" if the right is on one name only, sorted.
func rightsOf(t *testing.T, namespace, user string, groups ...string) []string {
	t.Helper()
	c, err := client.New(as(user, groups...), client.Options{Scheme: api.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	review := &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: namespace}}
	if err := c.Create(t.Context(), review); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range review.Status.ResourceRules {
		for _, verb := range r.Verbs {
			for _, group := range r.APIGroups {
				for _, resource := range r.Resources {
					right := strings.TrimSuffix(verb+" "+resource+"."+group, ".")
					if len(r.ResourceNames) == 0 && !slices.Contains(everybody, right) {
						out = append(out, right)
					}
					for _, name := range r.ResourceNames {
						out = append(out, right+"/"+name)
					}
				}
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// each returns the rights to do each of some verbs.
func each(resource string, verbs ...string) []string {
	var out []string
	for _, v := range verbs {
		out = append(out, v+" "+resource)
	}
	return out
}

// TestNoOtherRights checks that each identity has the listed rights and no others. A new right
// needs a line here, and a reason.
func TestNoOtherRights(t *testing.T) {
	deploy(t)
	const ours = ".proxy.fairlead.dev"
	agent := slices.Concat(
		each("noderulesets"+ours, "get", "list", "watch"), each("serviceruleslices"+ours, "get", "list", "watch"),
		each("noderulesets/status"+ours, "patch"), each("nodeheartbeats"+ours, "create", "patch"),
		each("events.events.k8s.io", "create"),
		each("services", "get"), each("endpointslices.discovery.k8s.io", "list"), // before it removes held rules
	)
	inCluster := slices.Concat(
		each("services", "get", "list", "watch"), each("nodes", "get", "list", "watch"),
		each("endpointslices.discovery.k8s.io", "list", "watch"), each("servicecidrs.networking.k8s.io", "list", "watch"),
		each("proxyconfigs"+ours, "list", "watch"), each("proxyconfigs/status"+ours, "patch"), each("nodeheartbeats"+ours, "list", "watch"),
		each("noderulesets"+ours, "create", "delete", "list", "patch", "watch"),
		each("proxyrollouts"+ours, "create", "delete", "list", "watch"), each("proxyrollouts/status"+ours, "patch"),
		each("serviceruleslices"+ours, "create", "delete", "list", "patch", "watch"),
		each("events.events.k8s.io", "create", "patch"),
		each("tokenreviews.authentication.k8s.io", "create"), each("subjectaccessreviews.authorization.k8s.io", "create"), // clients of its metrics
	)
	for _, name := range admissionNames { // are they enforced?
		inCluster = append(inCluster, "get validatingadmissionpolicies.admissionregistration.k8s.io/"+name,
			"get validatingadmissionpolicybindings.admissionregistration.k8s.io/"+name)
	}
	inNamespace := slices.Concat(
		each("leases.coordination.k8s.io", "create"), each("leases.coordination.k8s.io/fairlead-controller.proxy.fairlead.dev", "get", "update"),
		each("events", "create", "patch"), // of the leader election
		each("configmaps/fairlead-agent", "create", "patch"),
		each("controllerrevisions.apps", "create", "delete", "list", "patch", "watch"), // what nodes programmed before
	)
	underOLM := slices.Concat(inCluster, inNamespace, each("daemonsets.apps/fairlead-agent", "create", "list", "patch", "watch"))

	olm := namespace(t)
	installed := installedByOLM(t, olm)
	for name, tc := range map[string]struct {
		user, namespace string
		want            []string
	}{
		"agent":                                   {serviceAccount("fairlead-agent"), systemNamespace, agent},
		"agent, elsewhere":                        {serviceAccount("fairlead-agent"), "kube-system", agent},
		"controller":                              {serviceAccount("fairlead-controller-manager"), systemNamespace, slices.Concat(inCluster, inNamespace)},
		"controller, elsewhere":                   {serviceAccount("fairlead-controller-manager"), "kube-system", inCluster},
		"controller under OLM":                    {installed, olm, underOLM},
		"controller under OLM, elsewhere":         {installed, "kube-system", underOLM}, // OLM grants all in all namespaces
		"agent under OLM":                         {"system:serviceaccount:" + olm + ":fairlead-agent", olm, agent},
		"the controller's account, another place": {"system:serviceaccount:aaa:fairlead-controller-manager", "aaa", nil},
	} {
		t.Run(name, func(t *testing.T) {
			slices.Sort(tc.want)
			var diff string
			// Authorization takes effect after a moment.
			eventually(t, "the rights", func(context.Context) bool {
				diff = cmp.Diff(tc.want, rightsOf(t, tc.namespace, tc.user))
				return diff == "" || t.Failed()
			})
		})
	}
}

// TestRolesForUsers checks what the roles for users grant, bound in the whole cluster; and
// that a RoleBinding of any of them, or of the roles that OLM aggregates into admin and edit,
// grants nothing: all kinds are cluster-scoped.
func TestRolesForUsers(t *testing.T) {
	deploy(t)
	const ours = ".proxy.fairlead.dev"
	bind := func(role string) (user string) {
		t.Helper()
		user = "user-of-" + role
		create(t, &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: user},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: user}},
		})
		return user
	}
	read := []string{"get", "list", "watch"}
	wanted := map[string][]string{
		"fairlead-proxyconfig-admin-role": slices.Concat(each("proxyconfigs"+ours, "*"), each("proxyconfigs/status"+ours, "get"),
			each("proxyrollouts"+ours, "*"), each("proxyrollouts/status"+ours, "get")),
		"fairlead-proxyconfig-editor-role": slices.Concat(each("proxyconfigs"+ours, "create", "delete", "get", "list", "patch", "update", "watch"),
			each("proxyconfigs/status"+ours, "get"),
			each("proxyrollouts"+ours, "delete", "get", "list", "patch", "update", "watch"), each("proxyrollouts/status"+ours, "get")),
		"fairlead-proxyconfig-viewer-role": slices.Concat(each("proxyconfigs"+ours, read...), each("proxyconfigs/status"+ours, "get"),
			each("proxyrollouts"+ours, read...), each("proxyrollouts/status"+ours, "get")),
		"fairlead-noderuleset-viewer-role": slices.Concat(each("noderulesets"+ours, read...), each("nodeheartbeats"+ours, read...),
			each("noderulesets/status"+ours, "get")),
		"fairlead-serviceruleslice-viewer-role": each("serviceruleslices"+ours, read...),
		"fairlead-metrics-reader":               nil, // a path, no object
	}
	var roles rbacv1.ClusterRoleList
	if err := api.List(t.Context(), &roles, client.MatchingLabels{"app.kubernetes.io/name": "fairlead"}); err != nil {
		t.Fatal(err)
	}
	for _, role := range roles.Items {
		if _, ok := wanted[role.Name]; !ok && role.Name != "fairlead-metrics-auth-role" {
			t.Errorf("no test of the role %s", role.Name)
		}
	}
	for role, want := range wanted {
		t.Run(role, func(t *testing.T) {
			user := bind(role)
			slices.Sort(want)
			eventually(t, "the rights", func(context.Context) bool { return cmp.Diff(want, rightsOf(t, systemNamespace, user)) == "" })
		})
	}

	s := newTenancy(t)
	for _, verb := range []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"} {
		for _, resource := range []string{"serviceruleslices", "noderulesets", "nodeheartbeats", "proxyconfigs", "proxyrollouts"} {
			review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: s.home,
				ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: verb, Group: ours[1:], Resource: resource}}}
			if err := api.Create(t.Context(), review); err != nil {
				t.Fatal(err)
			}
			if review.Status.Allowed {
				t.Errorf("a tenant may %s %s", verb, resource)
			}
		}
	}
}
