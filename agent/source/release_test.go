// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"github.com/fairlead-proxy/fairlead/agent/internal/agenttest"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// fakeAPI is what the apiserver wants of Services.
type fakeAPI struct {
	mu     sync.Mutex
	wanted []*v1alpha1.ServiceRuleSliceSpec
	err    error
	asked  map[string]int
}

func (f *fakeAPI) evidence(ctx context.Context, service types.NamespacedName) (model.Wanted, error) {
	if err := ctx.Err(); err != nil {
		return model.Wanted{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.asked == nil {
		f.asked = map[string]int{}
	}
	f.asked[service.String()]++
	return of(service, f.wanted), f.err
}

func (f *fakeAPI) set(err error, wanted ...*v1alpha1.ServiceRuleSliceSpec) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wanted, f.err = wanted, err
}

// TestRelease says when what is held is released.
func TestRelease(t *testing.T) {
	kubernetes := whole("kubernetes", 1, 1)
	a, b := whole("a", 1, 60), whole("b", 61, 120)
	many := list(kubernetes)
	for i := range 250 {
		many = append(many, whole(fmt.Sprintf("many-%d", i), 1, 1))
	}
	for name, tc := range map[string]struct {
		before, wanted []*v1alpha1.ServiceRuleSliceSpec
		err            error
		then           func(lab, *fakeAPI)
		within         time.Duration
		want           string // in effect; not compared if there are many
		asked          int    // at most, about one Service
		inAll          int    // at most, about Services; 0: not compared
	}{
		"the Services are gone":  {before: list(kubernetes, a, b), wanted: list(kubernetes), within: 2 * time.Second, want: "kubernetes-v4-0 1", asked: 1},
		"they exist":             {before: list(kubernetes, a, b), wanted: list(kubernetes, a, b), within: time.Hour, want: "a-v4-0 60, b-v4-0 60, kubernetes-v4-0 1", asked: 150},
		"one exists":             {before: list(kubernetes, a, b), wanted: list(kubernetes, b), within: 2 * time.Second, want: "b-v4-0 60, kubernetes-v4-0 1", asked: 1},
		"the apiserver is empty": {before: list(kubernetes, a), within: time.Hour, want: "a-v4-0 60, kubernetes-v4-0 1", asked: 150},
		"it does not answer":     {before: list(kubernetes, a), err: errors.New("forbidden"), within: time.Hour, want: "a-v4-0 60, kubernetes-v4-0 1", asked: 150},
		"it answers later": {before: list(kubernetes, a), err: errors.New("timeout"), within: 2 * time.Minute, asked: 10,
			then: func(_ lab, f *fakeAPI) { time.Sleep(time.Minute); f.set(nil, kubernetes) }, want: "kubernetes-v4-0 1"},
		"a new one while others are held on": {before: list(kubernetes, a, b), wanted: list(kubernetes, a), within: time.Hour + 4*time.Second, asked: 150,
			then: func(l lab, _ *fakeAPI) { l.set(b); time.Sleep(time.Hour); l.lose(b) }, want: "a-v4-0 60, kubernetes-v4-0 1"},
		"a new one after others were held on": {before: list(kubernetes, a, b), wanted: list(kubernetes, a), within: time.Hour + 2*time.Minute + 4*time.Second, asked: 150,
			then: func(l lab, _ *fakeAPI) {
				l.set(b)
				time.Sleep(time.Hour)
				l.set(a)
				time.Sleep(2 * time.Minute)
				l.lose(b)
			}, want: "a-v4-0 60, kubernetes-v4-0 1"},
		"many are gone": {before: many, wanted: list(kubernetes), within: 3 * time.Second, want: "kubernetes-v4-0 1", asked: 1},
		"many live":     {before: many, wanted: many, within: 10 * time.Second, asked: 1, inAll: 60},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, f := newLab(t, tc.before...), &fakeAPI{}
				l.store.now = time.Now
				f.set(tc.err, tc.wanted...)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				go Release(ctx, l.store, f.evidence, clock.RealClock{})
				for _, spec := range tc.before {
					if spec != kubernetes {
						l.lose(spec)
					}
				}
				start := time.Now()
				if tc.then != nil {
					tc.then(l, f)
				}
				time.Sleep(tc.within - time.Since(start))
				synctest.Wait()
				if got := l.inEffect(); tc.want != "" && got != tc.want {
					t.Errorf("in effect: %s, want %s", got, tc.want)
				}
				inAll := 0
				for service, n := range f.asked {
					inAll += n
					if n > tc.asked && service != model.APIServerService.String() {
						t.Errorf("asked %d times about %s", n, service)
					}
				}
				if tc.inAll > 0 && inAll > tc.inAll {
					t.Errorf("asked %d times", inAll)
				}
			})
		})
	}
}

// TestLiveEvidence reads from an apiserver.
func TestLiveEvidence(t *testing.T) {
	const service = `{"apiVersion":"v1","kind":"Service","metadata":{"namespace":"default","name":"web"},"spec":{"clusterIP":"10.96.0.1","ports":[{"port":80,"protocol":"TCP"}]%s}}`
	const endpoints = `{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSliceList","items":[{"metadata":{"namespace":"default","name":"web-1",
		"labels":{"kubernetes.io/service-name":"web"}},"addressType":"IPv4","ports":[{"name":"","port":8080,"protocol":"TCP"}],"endpoints":[{"addresses":["10.1.0.2"],"conditions":{"ready":true}}]}]}`
	gone := func(kind, name string) string {
		return fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","details":{"name":%q,"kind":%q},"code":404}`, name, kind)
	}
	type answer struct {
		code int
		body string
	}
	ok := answer{200, endpoints}
	for name, tc := range map[string]struct {
		service, slices answer
		want            []string // addresses of endpoints; nil: there are no slices
		fails           bool
	}{
		"it exists":                        {answer{200, fmt.Sprintf(service, "")}, ok, []string{"10.1.0.2"}, false},
		"without endpoints":                {answer{200, fmt.Sprintf(service, "")}, answer{200, `{"items":[]}`}, []string{}, false},
		"it is gone":                       {answer{404, gone("services", "web")}, ok, nil, false},
		"another is gone":                  {answer{404, gone("services", "other")}, ok, nil, true},
		"another kind of its name is gone": {answer{404, gone("namespaces", "web")}, ok, nil, true},
		"the path is not there":            {answer{404, "404 page not found"}, ok, nil, true},
		"the namespace is not there":       {answer{404, gone("namespaces", "default")}, ok, nil, true},
		"it has no virtual address":        {answer{200, fmt.Sprintf(service, `,"type":"ExternalName"`)}, ok, nil, false},
		"it may not be read":               {answer{403, `{}`}, ok, nil, true},
		"the answer is no Service":         {answer{200, "<html>"}, ok, nil, true},
		"endpoints may not be read":        {answer{200, fmt.Sprintf(service, "")}, answer{403, `{}`}, nil, true},
		"the answer is no list":            {answer{200, fmt.Sprintf(service, "")}, answer{200, "<html>"}, nil, true},
		"the kind of slices is not there":  {answer{200, fmt.Sprintf(service, "")}, answer{404, ""}, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			mux := http.NewServeMux()
			serve := func(path string, a answer) {
				mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
					if s := r.URL.Query().Get("labelSelector"); s != "" && s != "kubernetes.io/service-name=web" {
						t.Errorf("selector %s", s)
					}
					w.Header().Set("Content-Type", "application/json")
					w.WriteHeader(a.code)
					_, _ = w.Write([]byte(a.body))
				})
			}
			serve("/api/v1/namespaces/default/services/web", tc.service)
			serve("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", tc.slices)
			server := httptest.NewServer(mux)
			defer server.Close()
			client, err := NewClient(&rest.Config{Host: server.URL})
			if err != nil {
				t.Fatal(err)
			}
			wanted, err := LiveEvidence(client)(t.Context(), types.NamespacedName{Namespace: "default", Name: "web"})
			if (err != nil) != tc.fails {
				t.Errorf("got %v, want an error: %v", err, tc.fails)
			}
			var got []string
			if wanted.Families["IPv4"] {
				got = slices.AppendSeq([]string{}, maps.Keys(wanted.Endpoints))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestFirstList is about an agent that knows nothing from before.
func TestFirstList(t *testing.T) {
	kubernetes, a, refused, foreign := whole("kubernetes", 1, 1), whole("a", 1, 60), whole("a", 1, 1), whole("a", 2, 2)
	for name, tc := range map[string]struct {
		checkpoint, listed, wanted []*v1alpha1.ServiceRuleSliceSpec
		err                        error
		taken                      bool
	}{
		"complete": {nil, list(kubernetes, a), list(kubernetes), nil, true},
		"empty":    {nil, nil, list(kubernetes), nil, false},
		"the apiserver's Service is not there yet": {nil, list(a), list(kubernetes), nil, false},
		"it belongs to another proxy":              {nil, list(a), nil, nil, true},
		"it cannot be found out":                   {nil, list(a), nil, errors.New("timeout"), false},
		"it may not be read":                       {nil, list(a), nil, apierrors.NewForbidden(schema.GroupResource{Resource: "services"}, "kubernetes", nil), true},
		"nothing of the kind can be read":          {nil, list(a), nil, apierrors.NewNotFound(schema.GroupResource{}, ""), true},
		"there is a checkpoint":                    {list(a), nil, list(kubernetes), nil, true},
		"a slice of another name is refused":       {nil, list(kubernetes, foreign), list(kubernetes, a), nil, true},
		"a Service's slice is refused":             {nil, list(kubernetes, refused), list(kubernetes, a), nil, false},
		"a refused slice has no Service":           {nil, list(kubernetes, refused), list(kubernetes), nil, true},
		"its Service cannot be found out":          {nil, list(kubernetes, refused), nil, errors.New("timeout"), false},
		"it is refused, and there is a checkpoint": {list(a), list(kubernetes, refused), list(kubernetes, a), nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			l, f := newLab(t), &fakeAPI{}
			l.store = NewStore(time.Now)
			l.store.SetNode(testNodeRules(1))
			l.store.NodeSynced()
			for _, spec := range tc.checkpoint {
				l.store.put("default."+spec.ServiceName+"-v4-0", spec)
			}
			f.set(tc.err, tc.wanted...)
			reported := ""
			l.sliceSink = NewSliceSink(t.Context(), l.store, f.evidence, func(what string, _ error) { reported = what }).(*sliceSink)
			var all []any
			for _, spec := range tc.listed {
				slice := agenttest.Slice(spec)
				if spec == refused {
					slice.ManagedFields = nil
				}
				if spec == foreign {
					slice.Name = "aaa"
				}
				all = append(all, slice)
			}
			if err := l.Replace(all, ""); (err == nil) != tc.taken {
				t.Errorf("got %v, want it taken: %v", err, tc.taken)
			}
			if (reported == "serviceruleslices") == tc.taken {
				t.Errorf("reported as failed: %q", reported)
			}
			if _, complete := l.store.Take(); complete != tc.taken {
				t.Errorf("complete: %v, want %v", complete, tc.taken)
			}
		})
	}
}
