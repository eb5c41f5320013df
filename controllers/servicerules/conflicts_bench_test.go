// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package servicerules

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/compile"
)

// cached is a client that reads from a cache only.
type cached struct {
	client.Client
	reader client.Reader
}

func (c cached) Get(ctx context.Context, key client.ObjectKey, obj client.Object, o ...client.GetOption) error {
	return c.reader.Get(ctx, key, obj, o...)
}

func (c cached) List(ctx context.Context, list client.ObjectList, o ...client.ListOption) error {
	return c.reader.List(ctx, list, o...)
}

// noWatchList is a client whose watch does not begin with a list.
type noWatchList struct{}

// IsWatchListSemanticsUnSupported has a cache list first.
func (noWatchList) IsWatchListSemanticsUnSupported() bool { return true }

// BenchmarkConflicts looks for the conflicts of a Service with as many addresses as it may
// have, among those of others: its cost does not depend on them.
func BenchmarkConflicts(b *testing.B) {
	for _, others := range []int{100, 10_000} {
		for _, addresses := range []int{1, 1024} {
			b.Run(fmt.Sprintf("addresses=%d/others=%d", addresses, others), func(b *testing.B) {
				var list v1alpha1.ServiceRuleSliceList
				for i := range others {
					list.Items = append(list.Items, *ruleSlice(i, 3, fmt.Sprintf("10.%d.%d.%d", 97+i/62500, i/250%250, i%250+1)))
				}
				r := New(cached{reader: cacheOf(b, &list)}, nil, nil, nil)
				svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "large"}}
				own := ruleSlice(others, 3, "10.96.0.1")
				for i := range addresses - 1 {
					own.Spec.ExternalIPs = append(own.Spec.ExternalIPs, fmt.Sprintf("198.18.%d.%d", i/250, i%250+1))
				}
				slices := []compile.Slice{{Spec: own.Spec}}
				for b.Loop() {
					if found, err := r.conflicts(b.Context(), svc, slices); err != nil || len(found) > 0 {
						b.Fatal(found, err)
					}
				}
			})
		}
	}
}

// ruleSlice is a slice of the i-th Service, with a number of endpoints.
func ruleSlice(i, endpoints int, clusterIP string) *v1alpha1.ServiceRuleSlice {
	s := &v1alpha1.ServiceRuleSlice{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("default.web-", i, "-v4-0")}}
	s.Spec = v1alpha1.ServiceRuleSliceSpec{ServiceName: fmt.Sprint("web-", i), AddressFamily: corev1.IPv4Protocol, ClusterIP: clusterIP,
		Ports: []v1alpha1.RulePort{{Protocol: corev1.ProtocolTCP, Port: 80}}}
	for n := range endpoints {
		s.Spec.Endpoints = append(s.Spec.Endpoints, v1alpha1.RuleEndpoint{Address: fmt.Sprintf("10.244.0.%d", n+1), TargetPorts: []int32{80}})
	}
	return s
}

// cacheOf is the manager's cache with a list in it, and with the indexes.
func cacheOf(b *testing.B, list *v1alpha1.ServiceRuleSliceList) client.Reader {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		b.Fatal(err)
	}
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(v1alpha1.GroupVersion.WithKind("ServiceRuleSlice"), meta.RESTScopeRoot)
	source := &toolscache.ListWatch{
		ListWithContextFunc:  func(context.Context, metav1.ListOptions) (runtime.Object, error) { return list, nil },
		WatchFuncWithContext: func(context.Context, metav1.ListOptions) (watch.Interface, error) { return watch.NewFake(), nil },
	}
	c, err := cache.New(&rest.Config{}, cache.Options{Scheme: scheme, Mapper: mapper, HTTPClient: http.DefaultClient,
		NewInformer: func(_ toolscache.ListerWatcher, obj runtime.Object, resync time.Duration, indexers toolscache.Indexers) toolscache.SharedIndexInformer {
			return toolscache.NewSharedIndexInformer(toolscache.ToListWatcherWithWatchListSemantics(source, noWatchList{}), obj, resync, indexers)
		}})
	if err != nil {
		b.Fatal(err)
	}
	err = Indexes(func(obj client.Object, field string, keys client.IndexerFunc) error {
		if _, is := obj.(*v1alpha1.ServiceRuleSlice); !is {
			return nil
		}
		return c.IndexField(b.Context(), obj, field, keys)
	})
	if err != nil {
		b.Fatal(err)
	}
	go func() { _ = c.Start(b.Context()) }()
	if !c.WaitForCacheSync(b.Context()) {
		b.Fatal("the cache is not filled")
	}
	return c
}
