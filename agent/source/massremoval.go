// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

const (
	// guardMin is the number of endpoints below which a list that takes most of
	// them away is believed at once.
	guardMin = 100

	// guardFraction: a list that keeps less than 1/guardFraction of the
	// endpoints is not believed at once.
	guardFraction = 3
)

// guard checks complete lists of slices before they replace what is programmed.
// A list may come from an apiserver's cache that is not filled yet; one that
// would take away most of the endpoints is therefore held until a second list,
// read from etcd's quorum, says the same. Until then the traffic goes on.
type massRemoval struct {
	// known returns the number of endpoints that are programmed.
	known func() int
	// quorum returns the number of endpoints by a consistent read.
	quorum func(context.Context) (int, error)
}

// check returns an error, and with it the list is read again, unless list may
// replace what is known.
func (g *massRemoval) check(ctx context.Context, list map[string]*v1alpha1.ServiceRuleSliceSpec) error {
	known, listed := g.known(), 0
	for _, spec := range list {
		listed += len(spec.Endpoints)
	}
	sparse := func(n int) bool { return known >= guardMin && n*guardFraction < known }
	if !sparse(listed) {
		return nil
	}
	n, err := g.quorum(ctx)
	if err != nil {
		return fmt.Errorf("held a list that would remove %d of %d endpoints, because it could not be confirmed: %w", known-listed, known, err)
	}
	if !sparse(n) {
		return fmt.Errorf("refused a list that would remove %d of %d endpoints: a consistent read finds %d", known-listed, known, n)
	}
	return nil
}

// quorumEndpoints counts the endpoints of all slices by a read from etcd's
// quorum, page by page.
func quorumEndpoints(client *Client) func(context.Context) (int, error) {
	return func(ctx context.Context) (int, error) {
		n, next := 0, ""
		for {
			var page v1alpha1.ServiceRuleSliceList
			opts := metav1.ListOptions{Limit: 500, Continue: next}
			if err := client.Get().Resource("serviceruleslices").VersionedParams(&opts, client.Params).Do(ctx).Into(&page); err != nil {
				return 0, err
			}
			for i := range page.Items {
				n += len(page.Items[i].Spec.Endpoints)
			}
			if next = page.Continue; next == "" {
				return n, nil
			}
		}
	}
}
