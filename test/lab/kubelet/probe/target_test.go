// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

func TestCheck(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "shop.example" || r.Header.Get("X-Probe") != "1" || r.URL.RawQuery != "a=b" {
			w.WriteHeader(http.StatusTeapot)
		}
	})
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/bad", http.StatusFound)
	})
	mux.HandleFunc("/bad", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	plain, secure := httptest.NewServer(mux), httptest.NewTLSServer(mux)
	defer plain.Close()
	defer secure.Close()
	port := func(server *httptest.Server) int {
		parsed, err := url.Parse(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		number, err := strconv.Atoi(parsed.Port())
		if err != nil {
			t.Fatal(err)
		}
		return number
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	healthy := health.NewServer()
	healthy.SetServingStatus("down", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	grpcServer := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(grpcServer, healthy)
	go func() { _ = grpcServer.Serve(listener) }()
	defer grpcServer.Stop()
	grpcPort := int32(listener.Addr().(*net.TCPAddr).Port)

	target := Target{
		IP: "127.0.0.1", Dial: (&net.Dialer{}).DialContext,
		Container: &corev1.Container{Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: int32(port(plain))}}},
	}
	get := func(path string, port intstr.IntOrString, scheme corev1.URIScheme) corev1.ProbeHandler {
		return corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{
			Path: path, Port: port, Scheme: scheme,
			HTTPHeaders: []corev1.HTTPHeader{{Name: "Host", Value: "shop.example"}, {Name: "X-Probe", Value: "1"}},
		}}
	}
	cases := map[string]struct {
		handler corev1.ProbeHandler
		want    string
	}{
		"http, named port, headers, query": {get("/ok?a=b", intstr.FromString("web"), ""), ""},
		"https with any certificate":       {get("/ok?a=b", intstr.FromInt(port(secure)), corev1.URISchemeHTTPS), ""},
		"a redirect is an answer":          {get("/moved", intstr.FromString("web"), ""), ""},
		"status 503":                       {get("/bad", intstr.FromString("web"), ""), "HTTP probe failed with statuscode: 503"},
		"unknown port name":                {get("/", intstr.FromString("none"), ""), `the container has no port "none"`},
		"tcp":                              {corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromString("web")}}, ""},
		"tcp port 0":                       {corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{}}, `the container has no port "0"`},
		"grpc":                             {corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: grpcPort}}, ""},
		"grpc service down":                {corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: grpcPort, Service: ptr.To("down")}}, "gRPC probe: the service is NOT_SERVING"},
		"nothing":                          {corev1.ProbeHandler{}, "a probe of no known kind"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := ""
			if err := target.Check(t.Context(), tc.handler); err != nil {
				got = err.Error()
			}
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
