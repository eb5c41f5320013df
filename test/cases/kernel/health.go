// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/test/cases"
	"github.com/fairlead-proxy/fairlead/test/lab/network"
)

// balancer is the outside client of the health checks.
var balancer = netip.MustParseAddr("203.0.113.2")

// health polls until the answers are the expected ones: health is updated soon after
// the rules.
func (r *run) health(wanted []cases.Health) error {
	if len(wanted) == 0 {
		return nil
	}
	m, err := r.at(balancer)
	if err != nil {
		return err
	}
	client := &http.Client{
		Timeout:   patience,
		Transport: &http.Transport{DialContext: network.DialContext(m.path()), DisableKeepAlives: true},
	}
	var errs []error
	for _, want := range wanted {
		deadline := time.Now().Add(patience)
		err := checkHealth(client, want)
		for err != nil && time.Now().Before(deadline) {
			time.Sleep(10 * time.Millisecond)
			err = checkHealth(client, want)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// checkHealth compares one answer, in the form that load balancers know from
// kube-proxy.
func checkHealth(client *http.Client, want cases.Health) error {
	answer, err := client.Get(want.Get)
	if want.Refused {
		if errors.Is(err, unix.ECONNREFUSED) {
			return nil
		}
		if err == nil {
			answer.Body.Close()
			err = fmt.Errorf("got status %d", answer.StatusCode)
		}
		return fmt.Errorf("%s: want no listener: %w", want.Get, err)
	}
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != want.Status {
		return fmt.Errorf("%s: got status %d, want %d", want.Get, answer.StatusCode, want.Status)
	}
	if want.LocalEndpoints == nil {
		return nil
	}
	var said struct {
		Service             struct{ Namespace, Name string }
		LocalEndpoints      int
		ServiceProxyHealthy bool
	}
	if err := json.NewDecoder(answer.Body).Decode(&said); err != nil {
		return fmt.Errorf("%s: %w", want.Get, err)
	}
	n := *want.LocalEndpoints
	weight := answer.Header.Get("X-Load-Balancing-Endpoint-Weight")
	if said.LocalEndpoints != n || weight != strconv.Itoa(n) || !said.ServiceProxyHealthy || said.Service.Namespace == "" {
		return fmt.Errorf("%s: got %+v and the weight %q, want %d endpoints", want.Get, said, weight, n)
	}
	return nil
}
