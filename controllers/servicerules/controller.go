// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package servicerules writes the ServiceRuleSlices of every Service.
package servicerules

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	apiac "github.com/fairlead-proxy/fairlead/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/controllers/ssa"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// +kubebuilder:rbac:groups="",resources=services,verbs=get;list;watch
// +kubebuilder:rbac:groups=discovery.k8s.io,resources=endpointslices,verbs=list;watch
// +kubebuilder:rbac:groups=proxy.fairlead.dev,resources=serviceruleslices,verbs=list;watch;create;patch;delete
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Reconciler writes the ServiceRuleSlices of a Service.
type Reconciler struct {
	// Client reads from the cache and writes to the apiserver.
	client.Client

	// Live reads from the apiserver, before rules are removed because the cache does
	// not have an object.
	Live client.Reader

	// Recorder records events on Services.
	Recorder events.EventRecorder

	clock   clock.PassiveClock
	states  *states
	cluster cluster
}

var _ reconcile.Reconciler = (*Reconciler)(nil)

// New returns a Reconciler.
func New(c client.Client, live client.Reader, recorder events.EventRecorder, now clock.PassiveClock) *Reconciler {
	return &Reconciler{Client: c, Live: live, Recorder: recorder, clock: now, states: newStates()}
}

// Reconcile applies the slices of one Service, and deletes all others whose spec names it,
// also those that it has not written.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	current, err := r.currentSlices(ctx, req.NamespacedName)
	if err != nil {
		return ctrl.Result{}, err
	}
	svc := &corev1.Service{}
	err = r.Get(ctx, req.NamespacedName, svc)
	if client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, fmt.Errorf("get Service: %w", err)
	}
	if err != nil {
		return ctrl.Result{}, r.removeGone(ctx, req.NamespacedName, current)
	}
	wanted, err := r.compile(ctx, svc, current)
	if err != nil {
		return ctrl.Result{}, err
	}
	began := wanted.Trigger
	if t := model.Trigger(svc); t.After(began) {
		began = t
	}
	s, result := r.states.of(req.NamespacedName), ctrl.Result{}
	s.recordProblems(r.Recorder, svc, wanted.Problems)
	if p := makePlan(svc, current, wanted.Slices); !p.empty() {
		if !p.urgent {
			if wait := s.wait(r.clock.Now()); wait > 0 {
				return ctrl.Result{RequeueAfter: wait}, nil
			}
		}
		p.annotate(s.fresh(began, current, r.clock.Now()), current)
		if err := r.execute(ctx, svc, p); err != nil {
			if ctx.Err() == nil {
				recordFailure(r.Recorder, svc, err)
			}
			return ctrl.Result{}, err
		}
		s.wrote(r.clock.Now())
		result.RequeueAfter = ssa.LookAgain
	}
	s.handle(began)
	s.gone = time.Time{}
	found, err := r.conflicts(ctx, svc, wanted.Slices)
	if err != nil {
		return ctrl.Result{}, err
	}
	s.recordConflicts(r.Recorder, found)
	return result, nil
}

// compile compiles the Service from the cache, unless that would remove its last
// endpoint: then it reads the EndpointSlices from the apiserver, because the cache may
// be incomplete.
func (r *Reconciler) compile(ctx context.Context, svc *corev1.Service, current []*v1alpha1.ServiceRuleSlice) (compile.Result, error) {
	in := compile.Input{Service: svc, Parts: partsOf(current)}
	var err error
	in.EndpointSlices, err = listEndpointSlices(ctx, r.Client, svc.Namespace,
		client.MatchingFields{indexEndpointSliceService: svc.Name}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return compile.Result{}, err
	}
	if len(svc.Spec.ExternalIPs) > 0 {
		if in.Cluster, err = r.cluster.get(ctx, r.Client); err != nil {
			return compile.Result{}, err
		}
	}
	compiled := compile.Service(in)
	if !hasEndpoints(specsOf(current)...) || hasEndpoints(compiledSpecs(compiled)...) || !model.IsProxied(svc) {
		return compiled, nil
	}
	in.EndpointSlices, err = listEndpointSlices(ctx, r.Live, svc.Namespace,
		client.MatchingLabels{discoveryv1.LabelServiceName: svc.Name})
	if err != nil {
		return compile.Result{}, fmt.Errorf("check the apiserver before removing the last endpoint: %w", err)
	}
	return compile.Service(in), nil
}

// removeGone deletes the slices of a Service that the cache does not have, if the
// apiserver confirms that it is deleted or belongs to another proxy.
func (r *Reconciler) removeGone(ctx context.Context, service types.NamespacedName, current []*v1alpha1.ServiceRuleSlice) error {
	p := makePlan(nil, current, nil)
	if !p.empty() {
		live := &corev1.Service{}
		err := r.Live.Get(ctx, service, live)
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("check the apiserver before deleting rules: %w", err)
		}
		if err == nil && model.IsProxied(live) {
			return errors.New("the cache does not have a Service that the apiserver has; its rules are kept")
		}
		p.removal = r.states.of(service).goneSince(r.clock.Now())
		if err := r.execute(ctx, nil, p); err != nil {
			return err
		}
	}
	r.states.forget(service)
	return nil
}

// execute writes and deletes what a plan says. svc is nil if the Service is gone.
func (r *Reconciler) execute(ctx context.Context, svc *corev1.Service, p plan) error {
	for _, w := range p.writes {
		if err := r.apply(ctx, svc, w, p.triggers[w.Name]); err != nil {
			return fmt.Errorf("apply ServiceRuleSlice %s: %w", w.Name, err)
		}
		if f, ok := p.foreign[w.Name]; ok {
			recordForeign(r.Recorder, svc, f, "overwritten")
		}
	}
	for _, d := range p.deletes {
		if err := r.mark(ctx, d, p.removal); err != nil {
			return fmt.Errorf("mark ServiceRuleSlice %s before its deletion: %w", d.Name, err)
		}
		err := r.Delete(ctx, d, client.Preconditions{UID: &d.UID})
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete ServiceRuleSlice %s: %w", d.Name, err)
		}
		if f, ok := p.foreign[d.Name]; ok {
			recordForeign(r.Recorder, svc, f, "deleted")
		}
	}
	return nil
}

// mark adds to a slice that the controller deletes it. Agents remove the rules of a slice at
// once only with this mark. They have not accepted slices of others, which need none.
func (r *Reconciler) mark(ctx context.Context, slice *v1alpha1.ServiceRuleSlice, trigger time.Time) error {
	if model.IsObsolete(slice) || model.CheckOrigin(slice) != nil {
		return nil
	}
	spec, err := ssa.Convert[apiac.ServiceRuleSliceSpecApplyConfiguration](slice.Spec)
	if err != nil {
		return err
	}
	intent := apiac.ServiceRuleSlice(slice.Name).
		WithUID(slice.UID). // never creates it again
		WithLabels(model.SliceLabels(model.ServiceOf(&slice.Spec))).
		WithAnnotations(map[string]string{
			v1alpha1.AnnotationServiceUID: slice.Annotations[v1alpha1.AnnotationServiceUID],
			v1alpha1.AnnotationObsolete:   "true",
		}).
		WithAnnotations(model.TriggerAnnotation(trigger)).
		WithSpec(spec)
	err = r.Apply(ctx, intent, ssa.FieldOwner, client.ForceOwnership)
	if apierrors.IsConflict(err) {
		return nil // it is gone, or another one of its name; the deletion names the UID, too
	}
	return err
}

func (r *Reconciler) apply(ctx context.Context, svc *corev1.Service, w compile.Slice, trigger time.Time) error {
	spec, err := ssa.Convert[apiac.ServiceRuleSliceSpecApplyConfiguration](w.Spec)
	if err != nil {
		return err
	}
	intent := apiac.ServiceRuleSlice(w.Name).
		WithLabels(model.SliceLabels(model.ServiceOf(&w.Spec))).
		WithAnnotations(map[string]string{v1alpha1.AnnotationServiceUID: string(svc.UID)}).
		WithAnnotations(model.TriggerAnnotation(trigger)).
		WithSpec(spec)
	return r.Apply(ctx, intent, ssa.FieldOwner, client.ForceOwnership)
}

func (r *Reconciler) currentSlices(ctx context.Context, service types.NamespacedName) ([]*v1alpha1.ServiceRuleSlice, error) {
	var list v1alpha1.ServiceRuleSliceList
	err := r.List(ctx, &list, client.MatchingFields{indexSliceService: service.String()}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("list ServiceRuleSlices: %w", err)
	}
	return pointers(list.Items), nil
}

func listEndpointSlices(ctx context.Context, from client.Reader, namespace string, opts ...client.ListOption) ([]*discoveryv1.EndpointSlice, error) {
	var list discoveryv1.EndpointSliceList
	if err := from.List(ctx, &list, append(opts, client.InNamespace(namespace))...); err != nil {
		return nil, fmt.Errorf("list EndpointSlices: %w", err)
	}
	return pointers(list.Items), nil
}

func pointers[T any](items []T) []*T {
	out := make([]*T, len(items))
	for i := range items {
		out[i] = &items[i]
	}
	return out
}

func specsOf(current []*v1alpha1.ServiceRuleSlice) []v1alpha1.ServiceRuleSliceSpec {
	out := make([]v1alpha1.ServiceRuleSliceSpec, len(current))
	for i, c := range current {
		out[i] = c.Spec
	}
	return out
}

func compiledSpecs(c compile.Result) []v1alpha1.ServiceRuleSliceSpec {
	out := make([]v1alpha1.ServiceRuleSliceSpec, len(c.Slices))
	for i, s := range c.Slices {
		out[i] = s.Spec
	}
	return out
}
