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
// has found them in use by the agent, or serves elsewhere, is not found.
func running(ctx context.Context, dial Dialer) (bool, v1alpha1.KubeProxyMode) {
	for _, url := range modeURLs {
		switch mode := v1alpha1.KubeProxyMode(strings.TrimSpace(string(ask(ctx, dial, url)))); mode {
		case v1alpha1.KubeProxyNFTables, v1alpha1.KubeProxyIPTables, v1alpha1.KubeProxyIPVS:
			return true, mode
		}
	}
	for _, url := range healthURLs {
		var health struct {
			LastUpdated  *string `json:"lastUpdated"`
			NodeEligible *bool   `json:"nodeEligible"`
		}
		if json.Unmarshal(ask(ctx, dial, url), &health) == nil && health.LastUpdated != nil && health.NodeEligible != nil {
			return true, ""
		}
	}
	return false, ""
}

// ask returns what another program than an agent answers; nil: there is none.
func ask(ctx context.Context, dial Dialer, url string) []byte {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil
	}
	client := http.Client{
		Transport:     &http.Transport{DialContext: dial, DisableKeepAlives: true}, // without the proxy of the environment
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	answer, err := client.Do(request)
	if err != nil {
		return nil
	}
	defer answer.Body.Close()
	if answer.Header.Get("Server") == httpserver.Name {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return nil
	}
	return body
}
