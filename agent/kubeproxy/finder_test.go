// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxy

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/testr"
	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/clock"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// TestFinder checks what is found, and how often changes are announced.
func TestFinder(t *testing.T) {
	type answer struct {
		found *v1alpha1.KubeProxyStatus
		err   error
		takes time.Duration
	}
	iptables := &v1alpha1.KubeProxyStatus{Mode: v1alpha1.KubeProxyIPTables, Leftovers: []string{"some"}}
	failed := errors.New("no memory")
	for name, c := range map[string]struct {
		answers []answer
		want    []*v1alpha1.KubeProxyStatus // after each
		changes int
		took    time.Duration
	}{
		"nothing": {[]answer{{}, {}}, []*v1alpha1.KubeProxyStatus{nil, nil}, 0, 2 * time.Minute},
		"it comes, stays and goes": {[]answer{{}, {found: iptables}, {found: iptables}, {}},
			[]*v1alpha1.KubeProxyStatus{nil, iptables, iptables, nil}, 2, 4 * time.Minute},
		"an error": {[]answer{{err: failed}, {}},
			[]*v1alpha1.KubeProxyStatus{{Message: "Failed to look for rules of kube-proxy: no memory"}, nil}, 2, 2 * time.Minute},
		"an error beside what is certain": {[]answer{{found: &v1alpha1.KubeProxyStatus{Running: true}, err: failed}},
			[]*v1alpha1.KubeProxyStatus{{Running: true, Message: "Failed to look for rules of kube-proxy: no memory"}}, 1, time.Minute},
		"a long error of two lines": {[]answer{{err: errors.New("a\nb" + strings.Repeat("c", 1000))}},
			[]*v1alpha1.KubeProxyStatus{{Message: "Failed to look for rules of kube-proxy: a; b" + strings.Repeat("c", 256-48) + " ..."}}, 1, time.Minute},
		"slow: less often": {[]answer{{takes: 3 * time.Second}, {}}, []*v1alpha1.KubeProxyStatus{nil, nil}, 0, 303*time.Second + time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				changes, i := 0, 0
				f := New(func() { changes++ }, testr.New(t), clock.RealClock{})
				var got []*v1alpha1.KubeProxyStatus
				f.look = func(context.Context) (finding, error) {
					if i > 0 {
						got = append(got, f.Found())
					}
					if i == len(c.answers) {
						cancel()
						return finding{}, nil
					}
					a := c.answers[i]
					i++
					time.Sleep(a.takes)
					if a.found != nil {
						a.found = a.found.DeepCopy()
					}
					return finding{status: a.found}, a.err
				}
				began := time.Now()
				f.Run(ctx)
				if diff := cmp.Diff(c.want, got); diff != "" || changes != c.changes {
					t.Errorf("%d changes, want %d; found (-want +got):\n%s", changes, c.changes, diff)
				}
				if took := time.Since(began); took != c.took {
					t.Errorf("looked for %s, want %s", took, c.took)
				}
			})
		})
	}
}
