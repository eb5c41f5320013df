// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package ingress

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/test/lab/labtest"
)

// outside are the addresses of the client outside of the cluster.
var outside = [2]string{"198.51.100.10", "2001:db8:51::10"}

// nodes are the addresses of nodes, by family. The first two have an ingress Pod each.
var nodes = map[string][2]string{
	"node-1": {"10.89.0.11", "fd00:89::11"}, "node-2": {"10.89.0.12", "fd00:89::12"}, "node-3": {"10.89.0.13", "fd00:89::13"},
}

// TestIngress asks for sites from outside, by way of a Service, an ingress Pod and a second Service, in each mode.
func TestIngress(t *testing.T) {
	t.Cleanup(func() { // for the next run on a lab that stays
		if err := use(context.Background(), v1alpha1.ModeNFTables); err != nil {
			t.Error(err)
		}
	})
	for _, mode := range []v1alpha1.ProxyMode{v1alpha1.ModeNFTables, v1alpha1.ModeIPTables} {
		t.Run(string(mode), func(t *testing.T) {
			if err := use(t.Context(), mode); err != nil {
				t.Fatal(err)
			}
			for name, address := range frontends() {
				t.Run(name, func(t *testing.T) { checkRoutes(t, address.host, address.client) })
			}
			t.Run("health", checkHealth)
			t.Run("published", checkPublished)
			t.Run("backends", checkBackends)
			t.Run("restart", checkRestart)
		})
	}
}

type frontend struct{ host, client string }

// frontends are the addresses that clients outside may use, and their own address.
func frontends() map[string]frontend {
	out := map[string]frontend{}
	for family, client := range outside {
		name := []string{"IPv4", "IPv6"}[family]
		out["load balancer "+name] = frontend{net.JoinHostPort(balancer.addresses[family], "80"), client}
		for _, node := range []string{"node-1", "node-2"} {
			out[node+" "+name] = frontend{net.JoinHostPort(nodes[node][family], "30080"), client}
		}
	}
	return out
}

// checkRoutes asks one address for all sites.
func checkRoutes(t *testing.T, address, client string) {
	b := newBrowser(false)
	// The first request may come before a node has programmed the Service.
	if err := eventually(t.Context(), func() error { _, err := b.get(address, "shop.example.com/"); return err }); err != nil {
		t.Fatal(err)
	}
	for url, deployment := range map[string]string{
		"shop.example.com/": "shop", "shop.example.com/any": "shop", "shop.example.com/blog": "blog",
		"shop.example.com/blog/1": "blog", "blog.example.com/": "blog",
	} {
		got, err := b.get(address, url)
		if err == nil {
			err = got.isOf(deployment)
		}
		if err == nil && got.client != client {
			err = fmt.Errorf("the ingress sees the client %s, want its own address %s", got.client, client)
		}
		if err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
	if got, err := b.get(address, "other.example.com/"); err != nil || got.status != http.StatusNotFound {
		t.Errorf("another host: %+v, %v, want the status 404 of the ingress", got, err)
	}
}

// checkHealth asks the nodes what a load balancer asks them: whether they have an ingress Pod.
func checkHealth(t *testing.T) {
	healthPort := int(service(t).Spec.HealthCheckNodePort)
	b := newBrowser(false)
	for node, want := range map[string]int{"node-1": 200, "node-2": 200, "node-3": 503} {
		for _, address := range nodes[node] {
			err := eventually(t.Context(), func() error {
				response, err := b.http.Get("http://" + net.JoinHostPort(address, strconv.Itoa(healthPort)))
				if err != nil {
					return err
				}
				defer response.Body.Close()
				if response.StatusCode != want {
					return fmt.Errorf("status %d, want %d", response.StatusCode, want)
				}
				return nil
			})
			if err != nil {
				t.Errorf("health of %s (%s): %v", node, address, err)
			}
		}
	}
}

// checkPublished compares the Ingress with the Service: the ingress Pods write its status.
func checkPublished(t *testing.T) {
	want := strings.Join(balancer.addresses[:], " ")
	err := eventually(t.Context(), func() error {
		if got := kubectl(t, "get", "ingress/sites", "--namespace=sites", "-o", "jsonpath={.status.loadBalancer.ingress[*].ip}"); got != want {
			return fmt.Errorf("the Ingress has the addresses %q, want %q", got, want)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// checkBackends reads in the ingress Pods' logs where they connect to: to the Pods of shop, and to the ClusterIP of blog.
func checkBackends(t *testing.T) {
	vip := kubectl(t, "get", "service/blog", "--namespace=sites", "-o", "jsonpath={.spec.clusterIP}")
	want := map[string][]string{"/blog/log": {"http://" + vip + ":80"}}
	for _, ip := range strings.Fields(kubectl(t, "get", "pods", "--namespace=sites", "--selector=app=shop", "-o", "jsonpath={.items[*].status.podIP}")) {
		want["/log"] = append(want["/log"], "http://"+ip+":80")
	}
	if len(want["/log"]) != 2 {
		t.Fatalf("the addresses of shop are %v, want two", want["/log"])
	}
	b := newBrowser(false)
	for path, servers := range want {
		// The ingress Pods take the servers in turn, and the log shows a request when it has been answered.
		err := eventually(t.Context(), func() error {
			if _, err := b.get(net.JoinHostPort(balancer.addresses[0], "80"), "shop.example.com"+path); err != nil {
				return err
			}
			log := kubectl(t, "logs", "--namespace=ingress", "--selector=app=traefik", "--tail=-1")
			for _, server := range servers {
				if !logged(log, "GET "+path+" ", server) {
					return fmt.Errorf("no request for %s to %s in the log", path, server)
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// logged says whether a line has both texts.
func logged(log, request, server string) bool {
	for line := range strings.Lines(log) {
		if strings.Contains(line, request) && strings.Contains(line, `"`+server+`"`) {
			return true
		}
	}
	return false
}

func service(t *testing.T) *corev1.Service {
	t.Helper()
	out := &corev1.Service{}
	if err := api.Get(t.Context(), client.ObjectKey{Namespace: "ingress", Name: "traefik"}, out); err != nil {
		t.Fatal(err)
	}
	return out
}

// use has all nodes use a mode, and waits until they have programmed it.
func use(ctx context.Context, mode v1alpha1.ProxyMode) error {
	return labtest.Use(ctx, api, patience, config.Nodes, mode, v1alpha1.LocalTrafficOptions{Detect: v1alpha1.DetectNodeCIDR})
}
