// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxy

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/fairlead-proxy/fairlead/agent/serve/httpserver"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// Where kube-proxy serves by default; on a node without IPv4, on ::1.
var (
	modeURLs   = []string{"http://127.0.0.1:10249/proxyMode", "http://[::1]:10249/proxyMode"}
	healthURLs = []string{"http://127.0.0.1:10256/healthz", "http://[::1]:10256/healthz"}
)

// timeout is that of a request.
const timeout = 2 * time.Second

// maxAnswer is the length of the longest answer that is read, in bytes.
const maxAnswer = 4 << 10

// Dialer opens a connection from the node.
type Dialer func(ctx context.Context, network, address string) (net.Conn, error)

// process is a kube-proxy that answers on its ports. One that has found them in use by the agent, or
// serves elsewhere, is not found.
type process struct {
	running bool
	mode    v1alpha1.KubeProxyMode // empty: unknown
	healthy bool
	held    bool // the agent has the first port
}

// askProcess asks kube-proxy for its mode and its health.
func askProcess(ctx context.Context, dial Dialer) (p process) {
	for _, url := range modeURLs {
		body, _, agent := ask(ctx, dial, url)
		p.held = p.held || agent
		switch mode := v1alpha1.KubeProxyMode(strings.TrimSpace(string(body))); mode {
		case v1alpha1.KubeProxyNFTables, v1alpha1.KubeProxyIPTables, v1alpha1.KubeProxyIPVS:
			if !p.running {
				p.running, p.mode = true, mode
			}
		}
	}
	for _, url := range healthURLs {
		var health struct {
			LastUpdated  *string `json:"lastUpdated"`
			NodeEligible *bool   `json:"nodeEligible"`
		}
		body, status, _ := ask(ctx, dial, url)
		if json.Unmarshal(body, &health) == nil && health.LastUpdated != nil && health.NodeEligible != nil {
			p.running = true
			// Before its first programming it has the time zero.
			p.healthy = p.healthy || status == http.StatusOK && !strings.HasPrefix(*health.LastUpdated, "0001-")
		}
	}
	return p
}

// ask returns what another program than an agent answers; nil: there is none, or an agent.
func ask(ctx context.Context, dial Dialer, url string) (body []byte, status int, agent bool) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, 0, false
	}
	client := http.Client{
		Transport:     &http.Transport{DialContext: dial, DisableKeepAlives: true}, // without the proxy of the environment
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	answer, err := client.Do(request)
	if err != nil {
		return nil, 0, false
	}
	defer answer.Body.Close()
	if answer.Header.Get("Server") == httpserver.Name {
		return nil, 0, true
	}
	body, err = io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return nil, 0, false
	}
	return body, answer.StatusCode, false
}
