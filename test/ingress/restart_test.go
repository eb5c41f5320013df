// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package ingress

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// pause is between two requests of a visitor.
const pause = 200 * time.Millisecond

// visitors ask for a site again and again until they are stopped, and note each request that fails.
type visitors struct {
	ctx    context.Context
	done   sync.WaitGroup
	total  atomic.Int64
	failed chan error
}

// visit adds one, which asks an address and says what is wrong with the answer.
func (v *visitors) visit(b browser, address, url string, check func(answer) error) {
	v.done.Go(func() {
		for {
			select {
			case <-v.ctx.Done():
				return
			case <-time.After(pause):
			}
			got, err := b.get(address, url)
			if err == nil {
				err = check(got)
			}
			v.total.Add(1)
			if err != nil {
				select {
				case v.failed <- fmt.Errorf("%s: %s by way of %s: %w", time.Now().Format(time.StampMilli), url, address, err):
				default: // there are enough of them
				}
			}
		}
	})
}

// checkRestart replaces the ingress Pods under requests: none may fail, and a session stays with its Pod.
func checkRestart(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	v := &visitors{ctx: ctx, failed: make(chan error, 10)}
	defer v.done.Wait()
	defer stop()
	for _, frontend := range frontends() {
		first, err := newBrowser(false).get(frontend.host, "shop.example.com/")
		if err != nil || first.cookie == nil {
			t.Fatalf("a first visit of the shop: %+v, %v, want a cookie", first, err)
		}
		for _, keep := range []bool{false, true} {
			session := newBrowser(keep)
			session.cookie = first.cookie
			v.visit(session, frontend.host, "shop.example.com/", func(a answer) error {
				if a.pod != first.pod {
					return fmt.Errorf("status %d from Pod %q, want 200 from %s as before", a.status, a.pod, first.pod)
				}
				return nil
			})
			v.visit(newBrowser(keep), frontend.host, "blog.example.com/", func(a answer) error { return a.isOf("blog") })
		}
	}
	before := ingressPods(t)
	restartIngress(t)
	err := eventually(t.Context(), func() error { // until also the old ones are gone
		after := ingressPods(t)
		for name := range before {
			if _, ok := after[name]; ok {
				return fmt.Errorf("Pod %s is still there", name)
			}
		}
		return nil
	})
	stop()
	v.done.Wait()
	close(v.failed)
	if err != nil {
		t.Error(err)
	}
	for err := range v.failed {
		t.Error(err)
	}
	t.Logf("%d requests while the ingress Pods %v were replaced by %v", v.total.Load(), before, ingressPods(t))
	if on := ingressPods(t); len(on) != 2 || !spread(on) {
		t.Errorf("the ingress Pods are on the nodes %v, want one on each of two", on)
	}
}

func restartIngress(t *testing.T) {
	t.Helper()
	kubectl(t, "rollout", "restart", "deployment/traefik", "--namespace=ingress")
	kubectl(t, "rollout", "status", "deployment/traefik", "--namespace=ingress", "--timeout="+patience.String())
}

// ingressPods returns the nodes of the Pods.
func ingressPods(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for line := range strings.Lines(kubectl(t, "get", "pods", "--namespace=ingress", "--selector=app=traefik",
		"-o", `jsonpath={range .items[*]}{.metadata.name} {.spec.nodeName}{"\n"}{end}`)) {
		name, node, _ := strings.Cut(strings.TrimSpace(line), " ")
		out[name] = node
	}
	return out
}

func spread(on map[string]string) bool {
	seen := map[string]bool{}
	for _, node := range on {
		seen[node] = true
	}
	return len(seen) == len(on)
}
