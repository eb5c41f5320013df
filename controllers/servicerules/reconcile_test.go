// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package servicerules

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	apiac "github.com/fairlead-proxy/fairlead/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// world is a Reconciler of default/web with an API in memory. test/envtest has the real one;
// here is what the Reconciler does with an API that it cannot trust.
type world struct {
	*Reconciler
	api    client.WithWatch
	hide   func(client.Object) bool // what the cache misses
	failed error                    // of reads from the apiserver
	writes []string
	events *events.FakeRecorder
}

var webName = types.NamespacedName{Namespace: "default", Name: "web"}

func newWorld(t *testing.T, objs ...client.Object) *world {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	b := fake.NewClientBuilder().WithScheme(scheme).WithReturnManagedFields().WithObjects(objs...)
	err := Indexes(func(obj client.Object, field string, keys client.IndexerFunc) error {
		b.WithIndex(obj, field, keys)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{api: b.Build(), events: events.NewFakeRecorder(10)}
	cached := interceptor.NewClient(w.api, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			if w.hide != nil && w.hide(obj) {
				return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
			}
			return c.Get(ctx, key, obj, opts...)
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			if _, ok := list.(*discoveryv1.EndpointSliceList); ok && w.hide != nil && w.hide(&discoveryv1.EndpointSlice{}) {
				return nil
			}
			return c.List(ctx, list, opts...)
		},
		Apply: func(ctx context.Context, c client.WithWatch, obj runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			slice := obj.(*apiac.ServiceRuleSliceApplyConfiguration)
			verb := "apply "
			if slice.Annotations[v1alpha1.AnnotationObsolete] != "" {
				verb = "mark "
			}
			w.writes = append(w.writes, verb+*slice.Name)
			return c.Apply(ctx, obj, opts...)
		},
		Delete: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
			verb, options := "delete ", (&client.DeleteOptions{}).ApplyOptions(opts)
			if p := options.Preconditions; p == nil || p.UID == nil || *p.UID != obj.GetUID() {
				verb = "delete anything named "
			}
			w.writes = append(w.writes, verb+obj.GetName())
			return c.Delete(ctx, obj, opts...)
		},
	})
	live := interceptor.NewClient(w.api, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			if w.failed != nil {
				return w.failed
			}
			return c.Get(ctx, key, obj, opts...)
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			if w.failed != nil {
				return w.failed
			}
			return c.List(ctx, list, opts...)
		},
	})
	w.Reconciler = New(cached, live, w.events, clocktesting.NewFakePassiveClock(time.Unix(1_700_000_000, 0)))
	return w
}

// reconcile returns what was written.
func (w *world) reconcile(t *testing.T) ([]string, error) {
	t.Helper()
	w.writes = nil
	_, err := w.Reconcile(t.Context(), ctrl.Request{NamespacedName: webName})
	return w.writes, err
}

func service(change ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "u"}}
	s.Spec.ClusterIP, s.Spec.ClusterIPs = "10.96.0.1", []string{"10.96.0.1"}
	s.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP}}
	for _, c := range change {
		c(s)
	}
	return s
}

func endpointsOf(trigger string, addresses ...string) *discoveryv1.EndpointSlice {
	s := endpointSlice("default", "web", nil)
	s.AddressType = discoveryv1.AddressTypeIPv4
	s.Ports = []discoveryv1.EndpointPort{{Name: ptr.To("http"), Port: ptr.To[int32](8080)}}
	for _, a := range addresses {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{a}})
	}
	if trigger != "" {
		s.Annotations = map[string]string{corev1.EndpointsLastChangeTriggerTime: trigger}
	}
	return s
}

// written returns the slices that the controller has written of a Service.
func written(svc *corev1.Service, endpoints *discoveryv1.EndpointSlice, change ...func(*v1alpha1.ServiceRuleSlice)) []client.Object {
	var out []client.Object
	for _, s := range inAPI(compile.Service(compile.Input{Service: svc, EndpointSlices: []*discoveryv1.EndpointSlice{endpoints}}).Slices...) {
		s.UID = types.UID("of " + s.Name)
		for _, c := range change {
			c(s)
		}
		out = append(out, s)
	}
	return out
}

func foreign(s *v1alpha1.ServiceRuleSlice) { s.ManagedFields[0].Manager = "kubectl" }
func obsolete(s *v1alpha1.ServiceRuleSlice) {
	s.Annotations[v1alpha1.AnnotationObsolete] = "true"
	s.ManagedFields[0].FieldsV1 = metav1.NewFieldsV1(`{"f:metadata":{"f:annotations":{"f:` + v1alpha1.AnnotationObsolete + `":{}}},"f:spec":{}}`)
}

func TestReconcile(t *testing.T) {
	const slice = "default.web-v4-0"
	endpoints := endpointsOf("", "10.0.0.1", "10.0.0.2")
	isService := func(obj client.Object) bool { _, ok := obj.(*corev1.Service); return ok }
	isEndpoints := func(obj client.Object) bool { _, ok := obj.(*discoveryv1.EndpointSlice); return ok }
	delegated := service(func(s *corev1.Service) {
		s.Labels = map[string]string{"service.kubernetes.io/service-proxy-name": "other"}
	})
	for name, c := range map[string]struct {
		objs   []client.Object
		hide   func(client.Object) bool
		failed error
		want   []string
		fails  bool
		event  bool
	}{
		"new":                          {objs: []client.Object{service(), endpoints}, want: []string{"apply " + slice}},
		"up to date":                   {objs: append(written(service(), endpoints), service(), endpoints)},
		"gone":                         {objs: written(service(), endpoints), want: []string{"mark " + slice, "delete " + slice}},
		"gone, marked before":          {objs: written(service(), endpoints, obsolete), want: []string{"delete " + slice}},
		"marked, but wanted again":     {objs: append(written(service(), endpoints, obsolete), service(), endpoints), want: []string{"apply " + slice}},
		"of another proxy":             {objs: append(written(service(), endpoints), delegated), hide: isService, want: []string{"mark " + slice, "delete " + slice}},
		"only the cache misses it":     {objs: append(written(service(), endpoints), service(), endpoints), hide: isService, fails: true},
		"missed, no answer":            {objs: written(service(), endpoints), failed: errors.New("timeout"), fails: true},
		"cache misses endpoints":       {objs: append(written(service(), endpoints), service(), endpoints), hide: isEndpoints},
		"missed endpoints no answer":   {objs: append(written(service(), endpoints), service(), endpoints), hide: isEndpoints, failed: errors.New("timeout"), fails: true},
		"of another proxy, no answer":  {objs: append(written(service(), endpoints), delegated), failed: errors.New("timeout"), want: []string{"mark " + slice, "delete " + slice}},
		"new, no endpoints, no answer": {objs: []client.Object{service()}, failed: errors.New("timeout"), want: []string{"apply " + slice}},
		"one endpoint left, no answer": {objs: append(written(service(), endpoints), service(), endpointsOf("", "10.0.0.1")), failed: errors.New("timeout"), want: []string{"apply " + slice}},
		"the last endpoint is gone":    {objs: append(written(service(), endpoints), service(), endpointsOf("")), want: []string{"apply " + slice}},
		"foreign, and not wanted":      {objs: written(service(), endpoints, foreign), want: []string{"delete " + slice}, event: true},
		"foreign, and wanted":          {objs: append(written(service(), endpoints, foreign), service(), endpoints), want: []string{"apply " + slice}, event: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, c.objs...)
			w.hide, w.failed = c.hide, c.failed
			w.states.of(webName)
			got, err := w.reconcile(t)
			if diff := cmp.Diff(c.want, got); diff != "" || (err != nil) != c.fails {
				t.Errorf("error %v, writes (-want +got):\n%s", err, diff)
			}
			if name == "of another proxy, no answer" { // its state is kept until the Service is gone
				w.states.forget(webName)
			}
			if event := len(w.events.Events) > 0; event != c.event {
				t.Errorf("%d events", len(w.events.Events))
			}
			current := &v1alpha1.ServiceRuleSlice{}
			err = w.api.Get(t.Context(), client.ObjectKey{Name: slice}, current)
			deleted := slices.Contains(c.want, "delete "+slice)
			if apierrors.IsNotFound(err) != deleted || !deleted && model.IsObsolete(current) {
				t.Errorf("left (%v): %+v", err, current.ObjectMeta)
			}
			if _, known := w.states.byService[webName]; known == deleted {
				t.Errorf("its state is kept: %v", known)
			}
		})
	}
}

// TestClusterIsReadAgain checks that a Service with an external IP is compiled with the
// nodes as they are.
func TestClusterIsReadAgain(t *testing.T) {
	svc := service(func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"192.0.2.7"} })
	w := newWorld(t, svc, endpointsOf("", "10.0.0.1"))
	if _, err := w.reconcile(t); err != nil {
		t.Fatal(err)
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node"}}
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.7"}}
	if err := w.api.Create(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	requests := w.exposedServices(t.Context(), node)
	if diff := cmp.Diff([]ctrl.Request{{NamespacedName: webName}}, requests); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if got, err := w.reconcile(t); err != nil || len(got) != 1 {
		t.Errorf("%v, %v, want one write without the node's address", got, err)
	}
	// What changes while it is read is read again.
	w.cluster.outdate()
	changing := interceptor.NewClient(w.api, interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			w.cluster.outdate()
			return c.List(ctx, list, opts...)
		},
	})
	if _, err := w.cluster.get(t.Context(), changing); err != nil || w.cluster.known != nil {
		t.Errorf("%v: what was read during a change is known", err)
	}
}

// TestConflictsOfReconcile checks which Services are reported as winners and losers.
func TestConflictsOfReconcile(t *testing.T) {
	const external = "192.0.2.7"
	named := func(name, vip string) *corev1.Service {
		return service(func(s *corev1.Service) {
			s.Name, s.UID, s.Spec.ClusterIP, s.Spec.ClusterIPs = name, types.UID(name), vip, []string{vip}
			s.Spec.ExternalIPs = []string{external}
		})
	}
	web, later := named("web", "10.96.0.1"), named("zzz", "10.96.0.2")
	before, ports := named("aaa", "10.96.0.3"), named("aaa", "10.96.0.3")
	ports.Spec.Ports[0].Port = 81
	elsewhere := named("web", "10.96.0.4")
	elsewhere.Namespace = "a"
	of := func(namespace, name string) corev1.ObjectReference {
		return corev1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: namespace, Name: name, UID: types.UID(name)}
	}
	note := func(namespace, name string) string {
		return "192.0.2.7:80/tcp is also the ExternalIP of Service " + namespace + "/" + name +
			", which receives its traffic on all nodes. Remove the address from this Service's spec.externalIPs"
	}
	none := endpointsOf("")
	for name, c := range map[string]struct {
		others []client.Object
		want   conflict
	}{
		"with a later one":              {append(written(later, none), later), conflict{of("default", "zzz"), of("default", "web"), note("default", "web")}},
		"with an earlier one":           {append(written(before, none), before), conflict{of("default", "web"), of("default", "aaa"), note("default", "aaa")}},
		"with one of its name":          {append(written(elsewhere, none), elsewhere), conflict{of("default", "web"), of("a", "web"), note("a", "web")}},
		"with one that is gone":         {written(before, none), conflict{}},
		"with one that is not ours":     {append(written(before, none, foreign), before), conflict{}},
		"with one that has other ports": {append(written(ports, none), ports), conflict{}},
		"with one of another family":    {append(written(before, none, func(s *v1alpha1.ServiceRuleSlice) { s.Spec.AddressFamily = corev1.IPv6Protocol }), before), conflict{}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, append(c.others, web)...)
			if _, err := w.reconcile(t); err != nil {
				t.Fatal(err)
			}
			var got conflict
			for got = range w.states.of(webName).conflicts {
			}
			if got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestAddressesChanged(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*corev1.Node)
		want   bool
	}{
		"nothing":          {func(*corev1.Node) {}, false},
		"a label":          {func(n *corev1.Node) { n.Labels = map[string]string{"a": "b"} }, false},
		"an address":       {func(n *corev1.Node) { n.Status.Addresses = []corev1.NodeAddress{{Address: "192.0.2.7"}} }, true},
		"the Pod CIDR":     {func(n *corev1.Node) { n.Spec.PodCIDR = "10.0.1.0/24" }, true},
		"another Pod CIDR": {func(n *corev1.Node) { n.Spec.PodCIDRs = append(n.Spec.PodCIDRs, "fd00::/64") }, true},
	} {
		t.Run(name, func(t *testing.T) {
			before := &corev1.Node{Spec: corev1.NodeSpec{PodCIDR: "10.0.0.0/24", PodCIDRs: []string{"10.0.0.0/24"}}}
			after := before.DeepCopy()
			c.change(after)
			if got := addressesChanged().Update(event.UpdateEvent{ObjectOld: before, ObjectNew: after}); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}
