// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rollouts brings a changed policy to the nodes in stages.
package rollouts

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	apiac "github.com/fairlead-proxy/fairlead/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/controllers/ssa"
)

// +kubebuilder:rbac:groups=proxy.fairlead.dev,resources=proxyrollouts,verbs=list;watch;create;delete
// +kubebuilder:rbac:groups=proxy.fairlead.dev,resources=proxyrollouts/status,verbs=patch

const (
	// validity is how long a decision may be written. A controller that was stopped for longer
	// may have a successor, which has decided by itself.
	validity = 5 * time.Second

	// period is the time between two looks at a rollout that proceeds: deadlines pass, and
	// nodes soak, without an event.
	period = time.Second

	// slowPeriod is that of one that waits for something else.
	slowPeriod = 15 * time.Second
)

// Nodes is what writes NodeRuleSets, see controllers/noderules.
type Nodes interface {
	// Usable returns what is wrong with a revision; nil: nodes can be given it.
	Usable(ctx context.Context, config *v1alpha1.ProxyConfig, revision string) (problem, err error)

	// Assign gives a node a revision, if its NodeRuleSet is still the current one.
	Assign(ctx context.Context, node *corev1.Node, config *v1alpha1.ProxyConfig, current *v1alpha1.NodeRuleSet, revision string, since metav1.Time) error
}

// Reconciler makes a ProxyRollout for each changed policy of a ProxyConfig with the strategy
// Staged, and gives the nodes its revision. It decides from the cache whether there is something
// to do, and then again from the apiserver what.
type Reconciler struct {
	// Client reads from the cache and writes to the apiserver.
	client.Client

	// Live reads from the apiserver.
	Live client.Reader

	Nodes    Nodes
	Recorder events.EventRecorder
	Clock    clock.PassiveClock

	// Patience is after which time without a heartbeat, while others beat, an agent is silent.
	Patience time.Duration

	silence silence // one worker uses it
}

var _ reconcile.Reconciler = (*Reconciler)(nil)

// Reconcile does the next step of the rollout of one ProxyConfig.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	s, err := r.read(ctx, r.Client, req.Name)
	if err != nil || s == nil {
		return ctrl.Result{}, err
	}
	n, err := r.next(ctx, s)
	if err != nil {
		return ctrl.Result{}, err
	}
	if n.decides() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, validity)
		defer cancel()
		if s, err = r.read(ctx, r.Live, req.Name); err != nil || s == nil {
			return ctrl.Result{}, err
		}
		if n, err = r.next(ctx, s); err != nil {
			return ctrl.Result{}, err
		}
	}
	if err := r.write(ctx, s, n); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: n.again}, nil
}

// step is what to write, in this order.
type step struct {
	remove []*v1alpha1.ProxyRollout
	create string // the name of a ProxyRollout
	status []update
	assign map[string]string
	again  time.Duration
}

// update is another status of a ProxyRollout.
type update struct {
	rollout *v1alpha1.ProxyRollout
	status  v1alpha1.ProxyRolloutStatus
}

// decides says that a step must be decided from what the apiserver has.
func (n step) decides() bool {
	return n.create != "" || len(n.remove) > 0 || len(n.assign) > 0 ||
		slices.ContainsFunc(n.status, func(u update) bool {
			return u.rollout.Status.Verdict != u.status.Verdict || u.rollout.Status.ToRevision != u.status.ToRevision
		})
}

// write writes a step. What follows from a status comes after it, so that another controller
// goes on from there.
func (r *Reconciler) write(ctx context.Context, s *state, n step) error {
	for _, old := range n.remove {
		if err := r.Delete(ctx, old, client.Preconditions{UID: &old.UID}); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete ProxyRollout: %w", err)
		}
	}
	if n.create != "" {
		owner := metav1.NewControllerRef(s.config, v1alpha1.GroupVersion.WithKind("ProxyConfig"))
		owner.BlockOwnerDeletion = nil
		rollout := &v1alpha1.ProxyRollout{ObjectMeta: metav1.ObjectMeta{Name: n.create, OwnerReferences: []metav1.OwnerReference{*owner},
			Labels: map[string]string{"app.kubernetes.io/name": "fairlead", v1alpha1.LabelManagedBy: v1alpha1.ControllerName}}}
		if err := r.Create(ctx, rollout, ssa.FieldOwner); err != nil {
			return fmt.Errorf("create ProxyRollout: %w", err)
		}
	}
	for _, u := range n.status {
		if err := r.apply(ctx, u); err != nil {
			return err
		}
	}
	since := metav1.Time{Time: s.now}
	for _, name := range slices.Sorted(maps.Keys(n.assign)) {
		if err := r.Nodes.Assign(ctx, s.nodes[name], s.config, s.sets[name], n.assign[name], since); err != nil {
			return err
		}
	}
	return nil
}

// apply writes a status in place of the one that it was computed from.
func (r *Reconciler) apply(ctx context.Context, u update) error {
	before := u.rollout.Status
	if apiequality.Semantic.DeepEqual(before, u.status) {
		return nil
	}
	status, err := ssa.Convert[apiac.ProxyRolloutStatusApplyConfiguration](u.status)
	if err != nil {
		return err
	}
	intent := apiac.ProxyRollout(u.rollout.Name).WithStatus(status).WithUID(u.rollout.UID).WithResourceVersion(u.rollout.ResourceVersion)
	if err := r.Status().Apply(ctx, intent, ssa.FieldOwner, client.ForceOwnership); err != nil {
		return fmt.Errorf("apply status of ProxyRollout: %w", err)
	}
	if before.Phase != u.status.Phase || before.Stage != u.status.Stage {
		r.Recorder.Eventf(u.rollout, nil, eventType(u.status), v1alpha1.EventRollout+string(u.status.Phase), "RollOut", "%s", describe(u.status))
	}
	return nil
}
