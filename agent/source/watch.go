// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Watch keeps a Store up to date, and releases what it holds, until ctx ends. The node's own NodeRuleSet is
// watched by name, which the apiserver dispatches without looking at the other
// nodes' watches.
func Watch(ctx context.Context, client *Client, nodeName string, in *Store,
	show func(types.UID, v1alpha1.NodeRuleSetStatus), failed func(what string, err error)) {
	byName := fields.OneTermEqualSelector(metav1.ObjectNameField, nodeName)
	go mirror(ctx, client, "noderulesets", byName, &v1alpha1.NodeRuleSet{}, &nodeSink{store: in, name: nodeName, show: show, log: logr.FromContextOrDiscard(ctx)}, failed)
	go mirror(ctx, client, "serviceruleslices", fields.Everything(), &v1alpha1.ServiceRuleSlice{},
		NewSliceSink(ctx, in, LiveEvidence(client), failed), failed)
	go Release(ctx, in, LiveEvidence(client), clock.RealClock{})
}

// mirror runs a reflector that writes into store. The back-off is short: a
// node that misses changes sends traffic to Pods that are gone.
func mirror(ctx context.Context, client *Client, resource string, selector fields.Selector,
	object runtime.Object, store cache.ReflectorStore, failed func(string, error)) {
	log := logr.FromContextOrDiscard(ctx)
	// A reflector does not stop the watch by which it has listed if its store refuses the
	// list, and watches anew.
	var last apiwatch.Interface
	stop := func() {
		if last != nil {
			last.Stop()
			last = nil
		}
	}
	defer stop()
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
			opts.FieldSelector = selector.String()
			list, err := client.Get().Resource(resource).VersionedParams(&opts, client.Params).Do(ctx).Get()
			failed(resource, err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, opts metav1.ListOptions) (apiwatch.Interface, error) {
			stop()
			opts.FieldSelector, opts.Watch = selector.String(), true
			w, err := client.Get().Resource(resource).VersionedParams(&opts, client.Params).Watch(ctx)
			// An expired resource version is answered by a new list.
			if !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
				failed(resource, err)
			}
			last = w
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

// sliceSink receives the ServiceRuleSlices.
type sliceSink struct {
	ctx      context.Context // a reflector gives its store none
	store    *Store
	evidence Evidence
	failed   func(what string, err error)
}

// NewSliceSink returns what writes slices into the store. failed is called with each list
// that is refused.
func NewSliceSink(ctx context.Context, in *Store, evidence Evidence, failed func(what string, err error)) cache.ReflectorStore {
	return &sliceSink{ctx: ctx, store: in, evidence: evidence, failed: failed}
}

func (s *sliceSink) Add(obj any) error    { return s.put(obj, false) }
func (s *sliceSink) Update(obj any) error { return s.put(obj, false) }
func (s *sliceSink) Delete(obj any) error { return s.put(obj, true) }
func (s *sliceSink) Resync() error        { return nil }

// Transformer is applied to what the reflector collects before Replace.
func (s *sliceSink) Transformer() cache.TransformFunc { return receive }

func (s *sliceSink) put(obj any, gone bool) error {
	r, err := received(obj)
	switch {
	case err != nil:
		return err
	case r.obsolete:
		s.store.SetSlice(r.Name, nil, r.began)
	case gone:
		s.store.LoseSlice(r.Name)
	case r.refused != nil:
		s.store.refuse(r.Name, r.refused)
	default:
		s.store.SetSlice(r.Name, r.spec, r.began)
	}
	return nil
}

func (s *sliceSink) Replace(list []any, _ string) error {
	all := make(map[string]*v1alpha1.ServiceRuleSliceSpec, len(list))
	refused := map[string]error{}
	var obsolete []string
	for _, obj := range list {
		r, err := received(obj)
		if err != nil {
			return err
		}
		if r.obsolete {
			obsolete = append(obsolete, r.Name)
			continue
		}
		if r.refused == nil {
			all[r.Name] = r.spec
			continue
		}
		refused[r.Name] = r.refused
		if kept := s.store.slice(r.Name); kept != nil {
			all[r.Name] = kept
		}
	}
	if err := s.checkFirst(list); err != nil {
		s.failed("serviceruleslices", err)
		return err
	}
	s.store.ReplaceSlices(all, true)
	for _, name := range obsolete {
		s.store.SetSlice(name, nil, time.Time{})
	}
	s.store.refuseOnly(refused)
	return nil
}

var errIncomplete = errors.New("the list of slices does not have the Service default/kubernetes: the controller has not written them all")

// errRefusedFirst is returned if nothing takes the place of a refused slice.
var errRefusedFirst = errors.New("the controller has not written the slice of a Service, and no earlier one is known")

// checkFirst refuses an incomplete list of an agent that has none from before, neither from
// the API nor from the checkpoint: it would replace what an agent before it has left in the
// kernel. The Service of the apiserver, which the controller writes first, must be in it, and
// no Service's slice may be one that is refused: the controller writes it again.
func (s *sliceSink) checkFirst(list []any) error {
	if s.evidence == nil || !s.store.empty() {
		return nil
	}
	begun, refused := false, map[string]types.NamespacedName{}
	for _, obj := range list {
		r, err := received(obj)
		if err != nil {
			return err
		}
		service := model.ServiceNameOf(r.spec)
		if r.refused == nil {
			begun = begun || service == model.APIServerService
		} else if r.Name == model.SliceNameOf(r.spec) {
			refused[r.Name] = service
		}
	}
	if !begun {
		if lives, err := s.lives(model.APIServerService); lives || err != nil {
			return cmp.Or(err, errIncomplete)
		}
	}
	for name, service := range refused {
		if lives, err := s.lives(service); err != nil {
			return err
		} else if lives {
			return fmt.Errorf("%w: %s", errRefusedFirst, name)
		}
	}
	return nil
}

// lives says whether the apiserver has a Service that is to be programmed, as far as the
// agent is allowed to know.
func (s *sliceSink) lives(service types.NamespacedName) (bool, error) {
	switch wanted, err := s.evidence(s.ctx, service); {
	case err == nil:
		return len(wanted.Families) > 0, nil
	case apierrors.IsNotFound(err), apierrors.IsForbidden(err):
		return false, nil
	default:
		return false, fmt.Errorf("check the first list of slices: %w", err)
	}
}

// nodeSink receives the node's NodeRuleSet.
type nodeSink struct {
	store *Store
	name  string
	show  func(types.UID, v1alpha1.NodeRuleSetStatus)
	log   logr.Logger
}

var errForeignNode = errors.New("the apiserver sent the NodeRuleSet of another node")

func (s *nodeSink) Add(obj any) error    { return s.set(obj) }
func (s *nodeSink) Update(obj any) error { return s.set(obj) }
func (s *nodeSink) Resync() error        { return nil }

func (s *nodeSink) Delete(any) error {
	s.lose()
	return nil
}

func (s *nodeSink) lose() {
	s.log.Info("There is no NodeRuleSet of this node: no ProxyConfig selects it, or no Node has this name. "+
		"Nothing is removed", "node", s.name)
	s.store.LoseNode()
}

func (s *nodeSink) set(obj any) error {
	n, ok := obj.(*v1alpha1.NodeRuleSet)
	if !ok {
		return fmt.Errorf("unexpected %T instead of a NodeRuleSet", obj)
	}
	if n.Name != s.name {
		return fmt.Errorf("%w: %s", errForeignNode, n.Name)
	}
	s.store.SetNode(&NodeRules{UID: n.UID, Generation: n.Generation, Spec: n.Spec, Reported: n.Status.Conditions})
	s.show(n.UID, n.Status)
	return nil
}

func (s *nodeSink) Replace(list []any, _ string) error {
	if len(list) == 0 {
		s.lose()
	}
	for _, obj := range list {
		if err := s.set(obj); err != nil {
			return err
		}
	}
	s.store.NodeSynced()
	return nil
}
