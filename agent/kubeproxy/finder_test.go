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
	corev1 "k8s.io/api/core/v1"
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
	none := &v1alpha1.KubeProxyStatus{}
	iptables := &v1alpha1.KubeProxyStatus{Mode: v1alpha1.KubeProxyIPTables, Leftovers: []string{"some"}}
	failed := errors.New("no memory")
	for name, c := range map[string]struct {
		answers []answer
		want    []*v1alpha1.KubeProxyStatus // after each
		changes int
		took    time.Duration
	}{
		"nothing": {[]answer{{}, {}}, []*v1alpha1.KubeProxyStatus{none, none}, 1, 2 * time.Minute},
		"it comes, stays and goes": {[]answer{{}, {found: iptables}, {found: iptables}, {}},
			[]*v1alpha1.KubeProxyStatus{none, iptables, iptables, none}, 3, 4 * time.Minute},
		"an error": {[]answer{{err: failed}, {}},
			[]*v1alpha1.KubeProxyStatus{{Message: "Failed to look for rules of kube-proxy: no memory"}, none}, 2, 2 * time.Minute},
		"an error beside what is certain": {[]answer{{found: &v1alpha1.KubeProxyStatus{Running: true}, err: failed}},
			[]*v1alpha1.KubeProxyStatus{{Running: true, Message: "Failed to look for rules of kube-proxy: no memory"}}, 1, time.Minute},
		"a long error of two lines": {[]answer{{err: errors.New("a\nb" + strings.Repeat("c", 1000))}},
			[]*v1alpha1.KubeProxyStatus{{Message: "Failed to look for rules of kube-proxy: a; b" + strings.Repeat("c", 256-48) + " ..."}}, 1, time.Minute},
		"slow: less often": {[]answer{{takes: 3 * time.Second}, {}}, []*v1alpha1.KubeProxyStatus{none, none}, 1, 303*time.Second + time.Minute},
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
				if found := f.Found(); found != nil {
					t.Errorf("found before the first look: %v", found)
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

// TestFinderLooksSoon checks the times of looks, in seconds, while the node changes and before and
// after.
func TestFinderLooksSoon(t *testing.T) {
	type change struct {
		at   time.Duration
		soon bool
	}
	for name, c := range map[string]struct {
		takes   time.Duration
		changes []change
		want    []int
	}{
		"never":              {want: []int{0, 60, 120}},
		"from the beginning": {changes: []change{{0, true}}, want: []int{0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120}},
		"from some time on":  {changes: []change{{35 * time.Second, true}, {70 * time.Second, true}, {72 * time.Second, false}}, want: []int{0, 35, 45, 55, 65, 125}},
		"soon after a look":  {changes: []change{{63 * time.Second, true}, {64 * time.Second, false}}, want: []int{0, 60, 120}},
		"for two looks":      {changes: []change{{63 * time.Second, true}, {85 * time.Second, false}}, want: []int{0, 60, 70, 80}},
		"slow":               {changes: []change{{0, true}}, takes: 2 * time.Second, want: []int{0, 22, 44, 66, 88, 110}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 129*time.Second)
				defer cancel()
				f := New(func() {}, testr.New(t), clock.RealClock{})
				began := time.Now()
				var got []int
				f.look = func(context.Context) (finding, error) {
					got = append(got, int(time.Since(began).Seconds()))
					time.Sleep(c.takes)
					return finding{}, nil
				}
				for _, change := range c.changes {
					time.AfterFunc(change.at, func() { f.LookSoon(change.soon) })
				}
				f.Run(ctx)
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("looked at (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestFinderServes checks how looks are counted, and that the loop is woken when they settle something.
func TestFinderServes(t *testing.T) {
	const yes, no = true, false
	for name, c := range map[string]struct {
		looks   []bool
		want    []int // after each
		changes int   // but the first
	}{
		"never":             {[]bool{no, no, no}, []int{-2, -2, -2}, 0},
		"it comes":          {[]bool{no, yes, yes, yes}, []int{-2, 1, 2, 2}, 2},
		"it is there":       {[]bool{yes, yes}, []int{1, 2}, 1},
		"it goes":           {[]bool{yes, yes, no, no, no}, []int{1, 2, -1, -2, -2}, 3},
		"it is away once":   {[]bool{yes, yes, no, yes}, []int{1, 2, -1, 1}, 3},
		"it comes and goes": {[]bool{no, yes, no, yes}, []int{-2, 1, -1, 1}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			changes := 0
			f := New(func() { changes++ }, testr.New(t), clock.RealClock{})
			if got := f.Serves(); got != 0 {
				t.Errorf("before the first look: %d", got)
			}
			var got []int
			for _, serves := range c.looks {
				f.set(finding{status: &v1alpha1.KubeProxyStatus{Running: true}, serves: served{ipv4: serves}}, nil)
				got = append(got, f.Serves())
			}
			if diff := cmp.Diff(c.want, got); diff != "" || changes != c.changes+1 {
				t.Errorf("%d changes, want %d; counts (-want +got):\n%s", changes, c.changes+1, diff)
			}
		})
	}
}

// TestFinderServesAnew checks that a node which begins to give back does not take the looks of before for it.
func TestFinderServesAnew(t *testing.T) {
	f := New(func() {}, testr.New(t), clock.RealClock{})
	look := func(serves bool) int {
		f.set(finding{status: &v1alpha1.KubeProxyStatus{Running: true}, serves: served{ipv4: serves}}, nil)
		return f.Serves()
	}
	soon := func(soon bool) int { f.LookSoon(soon); return f.Serves() }
	got := []int{look(true), look(true), soon(true), look(true), look(true), soon(true), soon(false), soon(true), look(false), soon(false), soon(true)}
	if diff := cmp.Diff([]int{1, 2, 0, 1, 2, 2, 2, 0, -2, -2, -2}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestFinderServesFamilies checks that each family is counted on its own, and that each wakes the loop.
func TestFinderServesFamilies(t *testing.T) {
	changes := 0
	f := New(func() { changes++ }, testr.New(t), clock.RealClock{})
	type counts struct{ Any, IPv4, IPv6, Both, Changes int }
	var got []counts
	for _, s := range []served{{}, {ipv4: true}, {ipv4: true}, {ipv4: true, ipv6: true}, {ipv4: true, ipv6: true}, {ipv6: true}, {}} {
		f.set(finding{status: &v1alpha1.KubeProxyStatus{Running: true}, serves: s}, nil)
		got = append(got, counts{f.Serves(), f.Serves(corev1.IPv4Protocol), f.Serves(corev1.IPv6Protocol),
			f.Serves(corev1.IPv4Protocol, corev1.IPv6Protocol), changes})
	}
	want := []counts{{-2, -2, -2, -2, 1}, {1, 1, -2, -2, 2}, {2, 2, -2, -2, 3}, {2, 2, 1, 1, 4}, {2, 2, 2, 2, 5}, {2, -1, 2, -1, 6}, {-1, -2, -1, -2, 7}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	f.LookSoon(true)
	if n := f.Serves(corev1.IPv6Protocol); n > 0 {
		t.Errorf("looks of before count: %d", n)
	}
}
