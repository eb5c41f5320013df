// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package apiserver makes client configurations that reach the apiserver by a
// list of addresses, one standing in for another. The controller and the agent
// cannot use the address of the Service default/kubernetes, because programming
// that address is their own job.
package apiserver

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
	// serverName is in the certificate of every conforming apiserver, also of
	// one whose certificate lacks the address that its endpoint has.
	serverName = "kubernetes.default.svc"

	// inClusterToken is where rest.InClusterConfig finds a Pod's token.
	inClusterToken = "/var/run/secrets/kubernetes.io/serviceaccount/token"

	// dialTimeout is short, because another address may answer.
	dialTimeout = 3 * time.Second
)

// Config returns a copy of base that talks to the first of the addresses that
// can be connected to, and stays with it until it cannot. Addresses have the
// form https://host:port. Without addresses it returns base unchanged.
//
// Each server must prove its own address by its certificate. A Pod's in-cluster
// configuration with addresses that are all IP addresses expects the name
// kubernetes.default.svc instead, unless base names a server name.
func Config(base *rest.Config, addresses []string) (*rest.Config, error) {
	if len(addresses) == 0 {
		return base, nil
	}
	hosts := make([]string, len(addresses))
	allIPs := true
	for i, a := range addresses {
		u, err := parse(a)
		if err != nil {
			return nil, err
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
	if len(hosts) > 1 {
		// One state for all clients made from cfg: what one of them found out
		// about an address is true for the others.
		state := &choice{hosts: hosts}
		cfg.Wrap(func(next http.RoundTripper) http.RoundTripper {
			return &failover{choice: state, next: next}
		})
	}
	return cfg, nil
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

// Addresses is a flag of addresses: it may be repeated, and each occurrence may
// hold several addresses separated by commas.
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
