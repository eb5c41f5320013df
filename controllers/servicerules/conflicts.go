// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package servicerules

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/compile"
	"github.com/fairlead-proxy/fairlead/rules/model"
	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// conflict means that a Service does not receive the traffic to an address, because
// another Service has it. The controller reports it, not the agents: it is the same on
// all nodes, of which there may be thousands.
type conflict struct {
	loser, winner corev1.ObjectReference
	note          string
}

// advice is how to resolve a conflict, by the kind of the loser's address.
var advice = map[model.Kind]string{
	model.KindClusterIP:    "Recreate one of the Services to allocate another cluster IP",
	model.KindLoadBalancer: "Assign another address in status.loadBalancer to one of the Services",
	model.KindExternalIP:   "Remove the address from this Service's spec.externalIPs",
}

// conflicts returns the conflicts of a Service with others.
func (r *Reconciler) conflicts(ctx context.Context, svc *corev1.Service, slices []compile.Slice) (found []conflict, err error) {
	for i := range slices {
		if slices[i].Spec.Part == 0 {
			more, err := r.conflictsOf(ctx, svc, &slices[i].Spec)
			if err != nil {
				return nil, err
			}
			found = append(found, more...)
		}
	}
	return found, nil
}

// conflictsOf returns the conflicts of a Service in one family, one for each other
// Service. Its own addresses are collected once, and each other Service is compared
// once, whatever they have in common.
func (r *Reconciler) conflictsOf(ctx context.Context, svc *corev1.Service, spec *v1alpha1.ServiceRuleSliceSpec) ([]conflict, error) {
	self := serviceRef(svc.Namespace, svc.Name, svc.UID)
	claims := resolve.ClaimsOf(serviceID(self, spec.AddressFamily), spec)
	known := map[types.NamespacedName]bool{client.ObjectKeyFromObject(svc): true}
	var out []conflict
	for _, address := range compile.ClaimedAddresses(spec) {
		var list v1alpha1.ServiceRuleSliceList
		if err := r.List(ctx, &list, client.MatchingFields{indexSliceAddress: address}, client.UnsafeDisableDeepCopy); err != nil {
			return nil, fmt.Errorf("list ServiceRuleSlices with the address %s: %w", address, err)
		}
		for i := range list.Items {
			slice := &list.Items[i]
			name := serviceOf(slice)
			if known[name] || slice.Spec.AddressFamily != spec.AddressFamily || model.CheckOrigin(slice) != nil {
				continue
			}
			known[name] = true
			uid, err := r.serviceUID(ctx, name)
			if err != nil {
				return nil, err
			}
			if uid == "" {
				continue // its slices are about to be deleted, and its address may be reallocated
			}
			other := serviceRef(name.Namespace, name.Name, uid)
			theirs := resolve.ClaimsOf(serviceID(other, spec.AddressFamily), &slice.Spec)
			if c, ok := compare(self, other, claims, theirs); ok {
				out = append(out, c)
			}
		}
	}
	return out, nil
}

// serviceUID returns the UID of a Service in the cache; empty: it does not exist.
func (r *Reconciler) serviceUID(ctx context.Context, name types.NamespacedName) (types.UID, error) {
	svc := &corev1.Service{}
	if err := r.Get(ctx, name, svc); client.IgnoreNotFound(err) != nil {
		return "", fmt.Errorf("get Service: %w", err)
	}
	return svc.UID, nil
}

// compare returns the conflict of two Services. If each wins an address, the first
// address counts.
func compare(a, b corev1.ObjectReference, claimsA, claimsB resolve.Claims) (conflict, bool) {
	all := claimsA.Conflicts(claimsB)
	if len(all) == 0 {
		return conflict{}, false
	}
	c := conflict{loser: b, winner: a}
	if all[0].Winner.Namespace != a.Namespace || all[0].Winner.Name != a.Name {
		c = conflict{loser: a, winner: b}
	}
	more := ""
	if len(all) > 1 {
		more = fmt.Sprintf(" (and %d more)", len(all)-1)
	}
	c.note = fmt.Sprintf("%s%s is also the %s of Service %s/%s, which receives its traffic on all nodes. %s",
		all[0].Key, more, all[0].WinnerKind, c.winner.Namespace, c.winner.Name, advice[all[0].LoserKind])
	return c, true
}

func serviceRef(namespace, name string, uid types.UID) corev1.ObjectReference {
	return corev1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: namespace, Name: name, UID: uid}
}

func serviceID(ref corev1.ObjectReference, family corev1.IPFamily) model.ServiceID {
	return model.ServiceID{Namespace: ref.Namespace, Name: ref.Name, Family: family}
}
