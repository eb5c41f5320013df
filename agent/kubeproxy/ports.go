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

// running says whether a kube-proxy answers on its ports, and its mode; empty: unknown. One that
// has found them in use by the agent, or serves elsewhere, is not found; held says that the agent
// has the first one.
func running(ctx context.Context, dial Dialer) (running bool, mode v1alpha1.KubeProxyMode, held bool) {
	for _, url := range modeURLs {
		body, agent := ask(ctx, dial, url)
		held = held || agent
		switch mode := v1alpha1.KubeProxyMode(strings.TrimSpace(string(body))); mode {
		case v1alpha1.KubeProxyNFTables, v1alpha1.KubeProxyIPTables, v1alpha1.KubeProxyIPVS:
			return true, mode, held
		}
	}
	for _, url := range healthURLs {
		var health struct {
			LastUpdated  *string `json:"lastUpdated"`
			NodeEligible *bool   `json:"nodeEligible"`
		}
		body, _ := ask(ctx, dial, url)
		if json.Unmarshal(body, &health) == nil && health.LastUpdated != nil && health.NodeEligible != nil {
			return true, "", held
		}
	}
	return false, "", held
}

// ask returns what another program than an agent answers; nil: there is none, or an agent.
func ask(ctx context.Context, dial Dialer, url string) (body []byte, agent bool) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, false
	}
	client := http.Client{
		Transport:     &http.Transport{DialContext: dial, DisableKeepAlives: true}, // without the proxy of the environment
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	answer, err := client.Do(request)
	if err != nil {
		return nil, false
	}
	defer answer.Body.Close()
	if answer.Header.Get("Server") == httpserver.Name {
		return nil, true
	}
	body, err = io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return nil, false
	}
	return body, false
}
