// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// ReasonRulesRepaired is the reason of the event on a NodeRuleSet after the agent
// has undone what somebody else had changed in the kernel.
const ReasonRulesRepaired = "RulesRepaired"

// writeEvent records a warning about the node's NodeRuleSet.
type writeEvent func(ctx context.Context, uid types.UID, reason, note string) error

// eventWriter writes events through the API, without client-go's recorder: one
// event in a minute at most needs no series, no queue, and no client set. Events
// about cluster-scoped objects are in the namespace default.
func eventWriter(client *apiClient, nodeName string) writeEvent {
	host, err := os.Hostname()
	if err != nil {
		host = nodeName
	}
	return func(ctx context.Context, uid types.UID, reason, note string) error {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		body, err := json.Marshal(&eventsv1.Event{
			TypeMeta:            metav1.TypeMeta{APIVersion: eventsv1.SchemeGroupVersion.String(), Kind: "Event"},
			ObjectMeta:          metav1.ObjectMeta{GenerateName: nodeName + "-", Namespace: metav1.NamespaceDefault},
			EventTime:           metav1.NowMicro(),
			ReportingController: FieldOwner,
			ReportingInstance:   FieldOwner + "-" + host,
			Action:              "Program",
			Reason:              reason,
			Type:                corev1.EventTypeWarning,
			Note:                note,
			Regarding: corev1.ObjectReference{APIVersion: v1alpha1.GroupVersion.String(), Kind: "NodeRuleSet",
				Name: nodeName, UID: uid},
		})
		if err != nil {
			return fmt.Errorf("encode an event: %w", err)
		}
		return client.Post().AbsPath("/apis/events.k8s.io/v1/namespaces", metav1.NamespaceDefault, "events").
			Body(body).Do(ctx).Error()
	}
}
