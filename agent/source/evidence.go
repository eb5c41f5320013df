// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Evidence returns what the apiserver wants of a Service now; the zero value, if it does not
// exist or is not proxied. So it does not depend on the controller.
type Evidence func(ctx context.Context, service types.NamespacedName) (model.Wanted, error)

// evidenceTimeout is the time that one check may take.
const evidenceTimeout = 10 * time.Second

// LiveEvidence reads a Service and its EndpointSlices from the apiserver, by consistent reads.
func LiveEvidence(client *Client) Evidence {
	return func(ctx context.Context, service types.NamespacedName) (model.Wanted, error) {
		ctx, cancel := context.WithTimeout(ctx, evidenceTimeout)
		defer cancel()
		var svc corev1.Service
		err := read(ctx, client.Get().AbsPath("/api/v1/namespaces", service.Namespace, "services", service.Name), &svc)
		if isGone(err, service) {
			return model.Wanted{}, nil
		}
		if err != nil {
			return model.Wanted{}, fmt.Errorf("get Service: %w", err)
		}
		if !model.IsProxied(&svc) {
			return model.Wanted{}, nil
		}
		var list discoveryv1.EndpointSliceList
		selector := labels.Set{discoveryv1.LabelServiceName: service.Name}.String()
		request := client.Get().AbsPath("/apis/discovery.k8s.io/v1/namespaces", service.Namespace, "endpointslices").
			Param("labelSelector", selector)
		if err := read(ctx, request, &list); err != nil {
			return model.Wanted{}, fmt.Errorf("list EndpointSlices: %w", err)
		}
		return model.WantedOf(&svc, list.Items), nil
	}
}

// read reads an object of a kind that is not in the client's scheme.
func read(ctx context.Context, request *rest.Request, into any) error {
	result := request.Do(ctx)
	if err := result.Error(); err != nil {
		return err
	}
	body, err := result.Raw()
	if err != nil {
		return err
	}
	return json.Unmarshal(body, into)
}

// isGone says whether an error means that a Service does not exist. An apiserver that does not
// know the path, or a proxy before it, says less.
func isGone(err error, service types.NamespacedName) bool {
	var status apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &status) {
		return false
	}
	details := status.Status().Details
	return details != nil && details.Kind == "services" && details.Name == service.Name
}
