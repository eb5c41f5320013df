// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"encoding/json"
	"net"
	"net/http"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"github.com/fairlead-proxy/fairlead/rules/resolve"
)

// answer is the body of an answer, as kube-proxy's.
type answer struct {
	Service        service `json:"service"`
	LocalEndpoints int     `json:"localEndpoints"`
	ProxyHealthy   bool    `json:"serviceProxyHealthy"`
}

type service struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// ServeHTTP answers a balancer, whatever path it asks for: 200 if the node should
// get traffic for the Service of the port, else 503.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	check, ok := s.checkAt(r)
	if !ok {
		// Its port was closed between the connection and the question.
		http.Error(w, "no Service has this port", http.StatusServiceUnavailable)
		return
	}
	a := answer{
		Service:        service{check.Service.Namespace, check.Service.Name},
		LocalEndpoints: check.LocalReady,
		ProxyHealthy:   s.healthy(),
	}
	code := http.StatusServiceUnavailable
	if a.LocalEndpoints > 0 && a.ProxyHealthy {
		code = http.StatusOK
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("X-Load-Balancing-Endpoint-Weight", strconv.Itoa(a.LocalEndpoints))
	w.WriteHeader(code)
	// The client is gone if this fails.
	_ = json.NewEncoder(w).Encode(a)
}

// checkAt returns what to answer on the port that a request came to.
func (s *Server) checkAt(r *http.Request) (resolve.HealthCheck, bool) {
	addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return resolve.HealthCheck{}, false
	}
	local := localOf(addr)
	port := resolve.HealthPort{Family: corev1.IPv6Protocol, Number: local.Port()}
	if local.Addr().Is4() {
		port.Family = corev1.IPv4Protocol
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if claims := s.claims[port]; len(claims) > 0 {
		return claims[0], true
	}
	return resolve.HealthCheck{}, false
}
