// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// apiClient is a client of our API group, and nothing more: a full client set
// would cost an agent several megabytes.
type apiClient struct {
	*rest.RESTClient
	params runtime.ParameterCodec
}

func newAPIClient(config *rest.Config) (*apiClient, error) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	c := rest.CopyConfig(config)
	c.APIPath = "/apis"
	c.GroupVersion = &v1alpha1.GroupVersion
	c.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	c.ContentType = runtime.ContentTypeJSON
	c.AcceptContentTypes = runtime.ContentTypeJSON
	client, err := rest.RESTClientFor(c)
	if err != nil {
		return nil, fmt.Errorf("make a client of the apiserver: %w", err)
	}
	return &apiClient{RESTClient: client, params: runtime.NewParameterCodec(scheme)}, nil
}

// watch keeps inputs up to date until ctx ends. The node's own NodeRuleSet is
// watched by name, which the apiserver dispatches without looking at the other
// nodes' watches.
func watch(ctx context.Context, client *apiClient, nodeName string, in *inputs,
	show func(types.UID, v1alpha1.NodeRuleSetStatus), failed func(what string, err error)) {
	byName := fields.OneTermEqualSelector(metav1.ObjectNameField, nodeName)
	go mirror(ctx, client, "noderulesets", byName, &v1alpha1.NodeRuleSet{}, &nodeStore{in: in, name: nodeName, show: show, log: logr.FromContextOrDiscard(ctx)}, failed)
	slices := &sliceStore{ctx: ctx, in: in, failed: failed,
		guard: &guard{known: in.endpoints, quorum: quorumEndpoints(client)}}
	go mirror(ctx, client, "serviceruleslices", fields.Everything(), &v1alpha1.ServiceRuleSlice{}, slices, failed)
}

// mirror runs a reflector that writes into store. The back-off is short: a
// node that cannot hear of changes sends traffic to Pods that are gone.
func mirror(ctx context.Context, client *apiClient, resource string, selector fields.Selector,
	object runtime.Object, store cache.ReflectorStore, failed func(string, error)) {
	log := logr.FromContextOrDiscard(ctx)
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
			opts.FieldSelector = selector.String()
			list, err := client.Get().Resource(resource).VersionedParams(&opts, client.params).Do(ctx).Get()
			failed(resource, err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, opts metav1.ListOptions) (apiwatch.Interface, error) {
			opts.FieldSelector, opts.Watch = selector.String(), true
			w, err := client.Get().Resource(resource).VersionedParams(&opts, client.params).Watch(ctx)
			// An expired resource version is answered by a new list.
			if !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
				failed(resource, err)
			}
			return w, err
		},
	}
	r := cache.NewReflectorWithOptions(lw, object, store, cache.ReflectorOptions{
		Name:            resource,
		TypeDescription: resource,
		Logger:          &log,
		Backoff:         &wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 6, Cap: 5 * time.Second},
	})
	r.RunWithContext(ctx)
}

// sliceStore receives the ServiceRuleSlices.
type sliceStore struct {
	ctx    context.Context // a reflector gives its store none
	in     *inputs
	guard  *guard
	failed func(what string, err error)
}

func (s *sliceStore) Add(obj any) error    { return s.put(obj, false) }
func (s *sliceStore) Update(obj any) error { return s.put(obj, false) }
func (s *sliceStore) Delete(obj any) error { return s.put(obj, true) }
func (s *sliceStore) Resync() error        { return nil }

// Transformer is applied to what the reflector collects before Replace.
func (s *sliceStore) Transformer() cache.TransformFunc { return dropMetadata }

func (s *sliceStore) put(obj any, gone bool) error {
	slice, ok := obj.(*v1alpha1.ServiceRuleSlice)
	if !ok {
		return fmt.Errorf("unexpected %T among the ServiceRuleSlices", obj)
	}
	name := types.NamespacedName{Namespace: slice.Namespace, Name: slice.Name}
	if gone {
		s.in.triggers.forget(name)
		s.in.setSlice(name, nil)
		return nil
	}
	s.in.triggers.note(name, model.Trigger(slice))
	s.in.setSlice(name, &slice.Spec)
	return nil
}

func (s *sliceStore) Replace(list []any, _ string) error {
	all := make(map[types.NamespacedName]*v1alpha1.ServiceRuleSliceSpec, len(list))
	for _, obj := range list {
		slice, ok := obj.(*v1alpha1.ServiceRuleSlice)
		if !ok {
			return fmt.Errorf("unexpected %T among the ServiceRuleSlices", obj)
		}
		all[types.NamespacedName{Namespace: slice.Namespace, Name: slice.Name}] = &slice.Spec
	}
	if err := s.guard.check(s.ctx, all); err != nil {
		s.failed("serviceruleslices", err)
		return err
	}
	s.in.triggers.reset()
	s.in.replaceSlices(all, true)
	return nil
}

// nodeStore receives the node's NodeRuleSet.
type nodeStore struct {
	in   *inputs
	name string
	show func(types.UID, v1alpha1.NodeRuleSetStatus)
	log  logr.Logger
}

var errForeignNode = errors.New("the apiserver sent the NodeRuleSet of another node")

func (s *nodeStore) Add(obj any) error    { return s.set(obj) }
func (s *nodeStore) Update(obj any) error { return s.set(obj) }
func (s *nodeStore) Resync() error        { return nil }

func (s *nodeStore) Delete(any) error {
	s.lose()
	return nil
}

func (s *nodeStore) lose() {
	s.log.Info("There is no NodeRuleSet of this node: no ProxyConfig selects it, or no Node has this name. "+
		"What is programmed stays", "node", s.name)
	s.in.loseNode()
}

func (s *nodeStore) set(obj any) error {
	n, ok := obj.(*v1alpha1.NodeRuleSet)
	if !ok {
		return fmt.Errorf("unexpected %T instead of a NodeRuleSet", obj)
	}
	if n.Name != s.name {
		return fmt.Errorf("%w: %s", errForeignNode, n.Name)
	}
	s.in.setNode(&nodeRules{UID: n.UID, Generation: n.Generation, Spec: n.Spec, reported: n.Status.Conditions})
	s.show(n.UID, n.Status)
	return nil
}

func (s *nodeStore) Replace(list []any, _ string) error {
	if len(list) == 0 {
		s.lose()
	}
	for _, obj := range list {
		if err := s.set(obj); err != nil {
			return err
		}
	}
	s.in.nodeSynced()
	return nil
}
