// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	_ "embed"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// Proxy is what proxies the Services in a run: Fairlead in a mode, or kube-proxy in one.
type Proxy string

// oracles has all proxies, and for a mode of Fairlead kube-proxy's, which must pass no
// case that Fairlead need not pass. kube-proxy has no mode like Userspace any more.
var oracles = map[Proxy]Proxy{
	"NFTables":            "kube-proxy/nftables",
	"IPTables":            "kube-proxy/iptables",
	"IPVS":                "kube-proxy/ipvs",
	"Userspace":           "",
	"kube-proxy/nftables": "",
	"kube-proxy/iptables": "",
	"kube-proxy/ipvs":     "",
}

// Exception is a group of cases that need not pass.
type Exception struct {
	// Cases is a regular expression for their names.
	Cases string
	// Where are the proxies that it is for; empty: all of them.
	Where []Proxy
	// Skip leaves the cases out. Others are run, and fail or skip themselves.
	Skip bool
	// KubeProxyItself: the cases look at kube-proxy's own Pods, ports or metrics, so
	// only kube-proxy can pass them.
	KubeProxyItself bool
	// Reason says why they need not pass.
	Reason string

	pattern *regexp.Regexp
}

// in reports whether the exception is for a proxy.
func (e Exception) in(proxy Proxy) bool {
	return len(e.Where) == 0 || slices.Contains(e.Where, proxy)
}

// Exceptions are a list of them.
type Exceptions []Exception

//go:embed exceptions.yaml
var exceptions []byte

// ReadExceptions returns the list of the repository.
func ReadExceptions() (Exceptions, error) { return ParseExceptions(exceptions) }

// ParseExceptions reads a list in YAML and checks that each entry has what it needs.
func ParseExceptions(data []byte) (Exceptions, error) {
	var list Exceptions
	if err := yaml.UnmarshalStrict(data, &list); err != nil {
		return nil, fmt.Errorf("exceptions: %w", err)
	}
	var errs []error
	for i := range list {
		if err := list[i].complete(); err != nil {
			errs = append(errs, fmt.Errorf("exception %q: %w", list[i].Cases, err))
		}
	}
	return list, errors.Join(errs...)
}

// complete checks an exception and compiles its pattern.
func (e *Exception) complete() (err error) {
	if e.Cases == "" {
		return errors.New("cases: no pattern")
	}
	if e.pattern, err = regexp.Compile(e.Cases); err != nil {
		return fmt.Errorf("cases: %w", err)
	}
	if strings.TrimSpace(e.Reason) == "" {
		return errors.New("no reason")
	}
	for _, proxy := range e.Where {
		oracle, known := oracles[proxy]
		if !known {
			return fmt.Errorf("where: no proxy %q", proxy)
		}
		if oracle != "" && !e.KubeProxyItself && !e.in(oracle) {
			return fmt.Errorf("%s need not pass what %s passes", proxy, oracle)
		}
	}
	return nil
}

// In returns the exceptions for a proxy.
func (l Exceptions) In(proxy Proxy) Exceptions {
	return slices.DeleteFunc(slices.Clone(l), func(e Exception) bool { return !e.in(proxy) })
}

// SkipPattern returns a regular expression for the names of all cases that are left out.
func (l Exceptions) SkipPattern() string {
	var patterns []string
	for _, e := range l {
		if e.Skip {
			patterns = append(patterns, "(?:"+e.Cases+")")
		}
	}
	return strings.Join(patterns, "|")
}
