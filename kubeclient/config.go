// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kubeclient builds client configurations with a list of apiserver
// addresses and failover between them. The controller and the agent cannot use the
// address of the Service default/kubernetes, because they program it themselves.
package kubeclient

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"k8s.io/client-go/rest"
)

const (
	// serverName is in the certificate of every conforming apiserver, even if the
	// certificate does not contain the address of its endpoint.
	serverName = "kubernetes.default.svc"

	// inClusterToken is the path of the Pod's token in rest.InClusterConfig.
	inClusterToken = "/var/run/secrets/kubernetes.io/serviceaccount/token"

	// dialTimeout is short, because another address may be reachable.
	dialTimeout = 3 * time.Second

	// responseTimeout is more than the minute after which an apiserver itself ends a
	// request. A watch begins with a response at once.
	responseTimeout = 65 * time.Second
)

// Config returns a copy of base that uses the first reachable address, and keeps
// using it until it is unreachable. Addresses have the form https://host:port; more can
// be added to the returned Servers. Without addresses it returns base unchanged, and nil.
//
// The certificate of each server must contain its address. For a Pod's in-cluster
// configuration with IP addresses only, it must contain the name
// kubernetes.default.svc instead, unless base has a server name.
func Config(base *rest.Config, addresses []string) (*rest.Config, *Servers, error) {
	if len(addresses) == 0 {
		return base, nil, nil
	}
	hosts := make([]string, len(addresses))
	allIPs := true
	for i, a := range addresses {
		u, err := parse(a)
		if err != nil {
			return nil, nil, err
		}
		hosts[i] = u.Host
		allIPs = allIPs && net.ParseIP(u.Hostname()) != nil
	}
	cfg := rest.CopyConfig(base)
	cfg.Host = "https://" + hosts[0]
	if allIPs && base.BearerTokenFile == inClusterToken && base.ServerName == "" {
		cfg.ServerName = serverName
	}
	if cfg.Dial == nil {
		cfg.Dial = (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext
	}
	// All clients of cfg share them: a server that is unreachable for one of them is
	// unreachable for all.
	servers := newServers(hosts)
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return &failover{servers: servers, next: next, patience: responseTimeout}
	})
	return cfg, servers, nil
}

func parse(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil ||
		strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("apiserver address %q must have the form https://host:port, for example https://192.0.2.10:6443", address)
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), "443")
	}
	return u, nil
}

// Addresses is a flag value: the flag may be repeated, and each occurrence may have
// several addresses separated by commas.
type Addresses []string

// String implements flag.Value.
func (a *Addresses) String() string { return strings.Join(*a, ",") }

// Set implements flag.Value.
func (a *Addresses) Set(text string) error {
	for address := range strings.SplitSeq(text, ",") {
		if address = strings.TrimSpace(address); address == "" {
			continue
		}
		if _, err := parse(address); err != nil {
			return err
		}
		*a = append(*a, address)
	}
	return nil
}
