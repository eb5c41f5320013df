// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-proxy/fairlead/agent/source"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// WriteEvent records a warning about the node's NodeRuleSet.
type WriteEvent func(ctx context.Context, uid types.UID, reason, note string) error

// NodeEvents writes events about the node's NodeRuleSet. Events about
// cluster-scoped objects are in the namespace default.
func NodeEvents(client *source.Client, nodeName string) WriteEvent {
	return func(ctx context.Context, uid types.UID, reason, note string) error {
		return createEvent(ctx, client, nodeName, reason, "Program", note, corev1.ObjectReference{
			APIVersion: v1alpha1.GroupVersion.String(), Kind: "NodeRuleSet", Name: nodeName, UID: uid})
	}
}

// ServiceEvents writes events about health checks of Services. An agent does
// not know the UID of a Service, without which kubectl describe shows no events;
// the Service's slices have it in an annotation.
func ServiceEvents(client *source.Client, nodeName string) func(ctx context.Context, service model.ServiceID, note string) error {
	return func(ctx context.Context, service model.ServiceID, note string) error {
		uid, err := serviceUID(ctx, client, service)
		return errors.Join(err, createEvent(ctx, client, nodeName, v1alpha1.EventHealthCheckFailed, "Listen",
			"Node "+nodeName+": "+note+".", corev1.ObjectReference{
				APIVersion: "v1", Kind: "Service", Namespace: service.Namespace, Name: service.Name, UID: uid}))
	}
}

func serviceUID(ctx context.Context, client *source.Client, service model.ServiceID) (types.UID, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var slice v1alpha1.ServiceRuleSlice
	err := client.Get().Resource("serviceruleslices").Name(model.SliceName(service, 0)).Do(ctx).Into(&slice)
	if err != nil && !apierrors.IsNotFound(err) {
		return "", fmt.Errorf("ask for the UID of Service %s/%s: %w", service.Namespace, service.Name, err)
	}
	return types.UID(slice.Annotations[v1alpha1.AnnotationServiceUID]), nil
}

// createEvent creates a warning through the API, without client-go's recorder: an
// event in a minute or so needs no series, no queue, and no client set.
func createEvent(ctx context.Context, client *source.Client, nodeName, reason, action, note string, regarding corev1.ObjectReference) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	host, err := os.Hostname()
	if err != nil {
		host = nodeName
	}
	namespace := cmp.Or(regarding.Namespace, metav1.NamespaceDefault)
	body, err := json.Marshal(&eventsv1.Event{
		TypeMeta:            metav1.TypeMeta{APIVersion: eventsv1.SchemeGroupVersion.String(), Kind: "Event"},
		ObjectMeta:          metav1.ObjectMeta{GenerateName: regarding.Name + "-", Namespace: namespace},
		EventTime:           metav1.NowMicro(),
		ReportingController: FieldOwner,
		ReportingInstance:   FieldOwner + "-" + host,
		Action:              action,
		Reason:              reason,
		Type:                corev1.EventTypeWarning,
		Note:                Truncate(note, maxMessage),
		Regarding:           regarding,
	})
	if err != nil {
		return fmt.Errorf("encode an event: %w", err)
	}
	return client.Post().AbsPath("/apis/events.k8s.io/v1/namespaces", namespace, "events").Body(body).Do(ctx).Error()
}
