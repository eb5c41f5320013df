// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	apiac "github.com/fairlead-proxy/fairlead/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// tenancy is a Service in one namespace, and a tenant with the role edit in another one.
type tenancy struct {
	*services // the victim's
	victim    *corev1.Service
	tenant    client.Client
	home      string // the tenant's namespace, whose name comes before the victim's
}

const (
	victimBalancer = "198.51.100.10"
	victimExternal = "198.51.100.20"
)

func newTenancy(t *testing.T) *tenancy {
	t.Helper()
	home := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "aaa-"}}
	create(t, home)
	s := &tenancy{services: newServices(t), home: home.Name}
	s.victim = s.service()
	s.victim.Spec.Type, s.victim.Spec.ExternalIPs = corev1.ServiceTypeLoadBalancer, []string{victimExternal}
	create(t, s.victim, s.endpointSlice(2))
	s.victim.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: victimBalancer}}
	if err := api.Status().Update(t.Context(), s.victim); err != nil {
		t.Fatal(err)
	}
	// A cluster aggregates the role edit of the first two; nothing does that here. Older
	// clusters add Endpoints and EndpointSlices, and OLM writes one role for each kind.
	more := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{GenerateName: "more-"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"endpoints"}, Verbs: []string{"*"}},
		{APIGroups: []string{discoveryv1.GroupName}, Resources: []string{"endpointslices"}, Verbs: []string{"*"}},
		{APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: []string{"*"}, Verbs: []string{"*"}},
	}}
	create(t, more)
	for _, role := range []string{"system:aggregate-to-edit", "system:aggregate-to-view", more.Name} {
		create(t, &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: s.home, GenerateName: "tenant-"},
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: s.home}}})
	}
	var err error
	if s.tenant, err = client.New(as(s.home), client.Options{Scheme: api.Scheme()}); err != nil {
		t.Fatal(err)
	}
	s.reconcileAll()
	// Of two Services with one external IP the older one has it, and the API counts in seconds.
	eventually(t, "the next second", func(context.Context) bool { return time.Since(s.victim.CreationTimestamp.Time) > time.Second })
	return s
}

// reconcileAll does the controller's work in both namespaces.
func (s *tenancy) reconcileAll() {
	s.t.Helper()
	for _, namespace := range []string{s.ns, s.home} {
		for _, name := range []string{"web", "mine"} {
			s.clock.SetTime(s.clock.Now().Add(time.Minute))
			if _, err := s.Reconcile(s.t.Context(), ctrl.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}}); err != nil {
				s.t.Fatal(err)
			}
		}
	}
}

// leadsTo returns where the victim's addresses lead on a node that takes the slices in the
// API, those of the tenant first or last.
func (s *tenancy) leadsTo(tenantFirst bool) map[string][]string {
	s.t.Helper()
	var list v1alpha1.ServiceRuleSliceList
	if err := api.List(s.t.Context(), &list); err != nil {
		s.t.Fatal(err)
	}
	var order []model.ServiceID
	parts := map[model.ServiceID][]*v1alpha1.ServiceRuleSliceSpec{}
	for i := range list.Items {
		slice := &list.Items[i]
		if ns := slice.Spec.ServiceNamespace; ns != s.ns && ns != s.home || model.CheckOrigin(slice) != nil {
			continue
		}
		id := model.ServiceOf(&slice.Spec)
		parts[id], order = append(parts[id], &slice.Spec), append(order, id)
	}
	if first := slices.IndexFunc(order, func(id model.ServiceID) bool { return id.Namespace == s.home }) == 0; first != tenantFirst {
		slices.Reverse(order)
	}
	table := resolve.NewTable()
	node := resolve.Node{Name: "n1"}
	node.Spec.ExternalIPs.Policy = v1alpha1.ExternalIPAllow // which is the harder case
	for _, id := range order {
		resolved, err := resolve.Service(node, id, parts[id])
		if err != nil {
			s.t.Fatal(err)
		}
		table.Set(id, resolved)
	}
	out := map[string][]string{}
	for key, f := range table.Desired().Frontends {
		if a := key.Address.String(); a != s.victim.Spec.ClusterIP && a != victimBalancer && a != victimExternal && key.Port != uint16(s.victim.Spec.Ports[0].NodePort) {
			continue
		}
		out[key.String()] = []string{f.Service.String()}
		for _, e := range f.Internal.Endpoints {
			out[key.String()] = append(out[key.String()], e.String())
		}
	}
	return out
}

// mine is a Service of the tenant at an address that is the victim's.
func (s *tenancy) mine(external ...string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: s.home, Name: "mine"},
		Spec: corev1.ServiceSpec{ExternalIPs: external, Ports: []corev1.ServicePort{{Name: "http", Port: 80}}}}
}

// endpoint is an EndpointSlice with an endpoint of the tenant.
func (s *tenancy) endpoint(namespace, service string) *discoveryv1.EndpointSlice {
	e := s.endpointSlice(1)
	e.Namespace, e.Name, e.Labels = namespace, service+"-tenant", map[string]string{discoveryv1.LabelServiceName: service}
	e.Endpoints[0].Addresses = []string{"10.66.66.66"}
	return e
}

// slice is a hand-made slice that leads the victim's cluster IP to the tenant.
func (s *tenancy) slice(namespace, service string) *v1alpha1.ServiceRuleSlice {
	id := model.ServiceID{Namespace: namespace, Name: service, Family: corev1.IPv4Protocol}
	return &v1alpha1.ServiceRuleSlice{
		ObjectMeta: metav1.ObjectMeta{Name: model.SliceName(id, 0), Namespace: s.home, Labels: model.SliceLabels(id)},
		Spec: v1alpha1.ServiceRuleSliceSpec{ServiceNamespace: namespace, ServiceName: service, AddressFamily: id.Family, Parts: 1,
			ClusterIP: s.victim.Spec.ClusterIP, Ports: []v1alpha1.RulePort{{Protocol: corev1.ProtocolTCP, Port: 80}}, Digest: "0",
			Endpoints: []v1alpha1.RuleEndpoint{{Address: "10.66.66.66", TargetPorts: []int32{80}}}},
	}
}

// TestTenant tries to change where another namespace's Service leads.
func TestTenant(t *testing.T) {
	const forbidden = "is forbidden"
	creates := func(objs func(s *tenancy) []client.Object) func(context.Context, *tenancy) error {
		return func(ctx context.Context, s *tenancy) error {
			for _, obj := range objs(s) {
				if err := s.tenant.Create(ctx, obj); err != nil {
					return err
				}
				cleanUp(s.t, obj)
			}
			return nil
		}
	}
	one := func(obj client.Object) []client.Object { return []client.Object{obj} }
	for name, tc := range map[string]struct {
		try  func(context.Context, *tenancy) error
		want string // in the error; empty: it is allowed
	}{
		"a slice of its own Service": {creates(func(s *tenancy) []client.Object { return one(s.slice(s.home, "mine")) }), forbidden},
		"a slice of the victim":      {creates(func(s *tenancy) []client.Object { return one(s.slice(s.ns, "web")) }), forbidden},
		"changes the victim's slice": {func(ctx context.Context, s *tenancy) error {
			patch := client.RawPatch(types.MergePatchType, []byte(`{"spec": {"endpoints": []}}`))
			return s.tenant.Patch(ctx, s.slice(s.ns, "web"), patch)
		}, forbidden},
		"applies it as the controller": {func(ctx context.Context, s *tenancy) error {
			return s.tenant.Apply(ctx, apiac.ServiceRuleSlice(s.ns+".web-v4-0").WithSpec(apiac.ServiceRuleSliceSpec().WithClusterIP("10.0.0.66")),
				client.FieldOwner("fairlead-controller"), client.ForceOwnership)
		}, forbidden},
		"deletes the victim's slice": {func(ctx context.Context, s *tenancy) error { return s.tenant.Delete(ctx, s.slice(s.ns, "web")) }, forbidden},
		"deletes all slices": {func(ctx context.Context, s *tenancy) error {
			return s.tenant.DeleteAllOf(ctx, &v1alpha1.ServiceRuleSlice{}, client.MatchingLabels{v1alpha1.LabelServiceNamespace: s.ns})
		}, forbidden},
		"a NodeRuleSet": {creates(func(s *tenancy) []client.Object {
			return one(object(s.t, "NodeRuleSet", `spec: {policy: {name: a, generation: 1}, mode: NFTables, node: {}}`))
		}), forbidden},
		"a ProxyConfig": {creates(func(s *tenancy) []client.Object { return one(object(s.t, "ProxyConfig", `spec: {priority: 9}`)) }), forbidden},
		"the victim's Service": {func(ctx context.Context, s *tenancy) error {
			return s.tenant.Patch(ctx, s.victim.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(`{"spec": {"selector": {"app": "mine"}}}`)))
		}, forbidden},
		"its cluster IP": {creates(func(s *tenancy) []client.Object {
			svc := s.mine()
			svc.Spec.ClusterIP = s.victim.Spec.ClusterIP
			return one(svc)
		}), "provided IP is already allocated"},
		"its cluster IP as an external IP": {creates(func(s *tenancy) []client.Object {
			return []client.Object{s.mine(s.victim.Spec.ClusterIP), s.endpoint(s.home, "mine")}
		}), ""},
		"its load balancer IP as an external IP": {creates(func(s *tenancy) []client.Object {
			return []client.Object{s.mine(victimBalancer), s.endpoint(s.home, "mine")}
		}), ""},
		"its external IP as an external IP": {creates(func(s *tenancy) []client.Object {
			return []client.Object{s.mine(victimExternal), s.endpoint(s.home, "mine")}
		}), ""},
		"its load balancer IP in the status": {func(ctx context.Context, s *tenancy) error {
			svc := s.mine()
			svc.Spec.Type = corev1.ServiceTypeLoadBalancer
			if err := s.tenant.Create(ctx, svc); err != nil {
				return err
			}
			cleanUp(s.t, svc)
			svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: victimBalancer}}
			return s.tenant.Status().Update(ctx, svc)
		}, forbidden},
		"its load balancer IP in the spec": {creates(func(s *tenancy) []client.Object {
			svc := s.mine()
			svc.Spec.Type, svc.Spec.LoadBalancerIP = corev1.ServiceTypeLoadBalancer, victimBalancer
			return []client.Object{svc, s.endpoint(s.home, "mine")}
		}), ""},
		"its node port": {creates(func(s *tenancy) []client.Object {
			svc := s.mine()
			svc.Spec.Type, svc.Spec.Ports[0].NodePort = corev1.ServiceTypeNodePort, s.victim.Spec.Ports[0].NodePort
			return one(svc)
		}), "provided port is already allocated"},
		"a Service of the same name": {creates(func(s *tenancy) []client.Object {
			svc := s.mine(s.victim.Spec.ClusterIP, victimBalancer)
			svc.Name = "web"
			return []client.Object{svc, s.endpoint(s.home, "web")}
		}), ""},
		"an EndpointSlice with the victim's label":   {creates(func(s *tenancy) []client.Object { return one(s.endpoint(s.home, "web")) }), ""},
		"an EndpointSlice in the victim's namespace": {creates(func(s *tenancy) []client.Object { return one(s.endpoint(s.ns, "web")) }), forbidden},
		"Endpoints with the victim's name":           {creates(func(s *tenancy) []client.Object { return one(endpoints(s.home)) }), ""},
		"Endpoints in its namespace":                 {creates(func(s *tenancy) []client.Object { return one(endpoints(s.ns)) }), forbidden},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTenancy(t)
			before := s.leadsTo(false)
			if len(before) != 4 {
				t.Fatalf("the victim's addresses: %v", before)
			}
			wantError(t, tc.try(t.Context(), s), tc.want)
			s.reconcileAll()
			for _, tenantFirst := range []bool{false, true} {
				if diff := cmp.Diff(before, s.leadsTo(tenantFirst)); diff != "" {
					t.Errorf("the victim's addresses lead elsewhere:\n%s", diff)
				}
			}
		})
	}
}

// endpoints are Endpoints with the victim's name.
func endpoints(namespace string) client.Object {
	return &corev1.Endpoints{ //nolint:staticcheck // deprecated, and still in the API
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web"},
		Subsets: []corev1.EndpointSubset{{ //nolint:staticcheck // as above
			Addresses: []corev1.EndpointAddress{{IP: "10.66.66.66"}}, Ports: []corev1.EndpointPort{{Name: "http", Port: 8080}}}}}
}
