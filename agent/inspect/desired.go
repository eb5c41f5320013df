// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package inspect is `fairlead-agent inspect`: it prints what the node's kernel has of Services, and
// how that differs from what the running agent has programmed; and `fairlead-agent observe`, which prints new
// connections to Services.
//
//	fairlead-agent            the engine, a Unix socket in the state folder
//	fairlead-agent inspect    asks it what is desired, reads the kernel, changes nothing
//	fairlead-agent observe    asks it what is desired, reads the kernel's events
//
// Two of them are processes of one Pod. The second one reads the kernel with handles of its own, so that
// the first never waits for it.
package inspect

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"

	"github.com/fairlead-proxy/fairlead/agent/engine"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// header begins the agent's answer, in JSON. The frontends follow, one after the other: no text of
// all of them is in memory.
type header struct {
	Error string `json:"error,omitempty"`

	Mode           v1alpha1.ProxyMode       `json:"mode"`
	Rules          v1alpha1.NodeRuleSetSpec `json:"rules"`
	Generation     int64                    `json:"generation"`
	Digest         string                   `json:"digest"`
	Changes        uint64                   `json:"changes"`
	Unsettled      string                   `json:"unsettled,omitempty"`
	NoIPv6         bool                     `json:"noIPv6,omitempty"`
	Settings       model.NodeSettings       `json:"settings"`
	ClusterIPs     []netip.Addr             `json:"clusterIPs"`
	LocalEndpoints []netip.Addr             `json:"localEndpoints"`
	Frontends      int                      `json:"frontends"`
}

// write writes an answer.
func write(to io.Writer, w engine.Wanted, err error) error {
	encode := json.NewEncoder(to)
	if err != nil {
		return encode.Encode(header{Error: err.Error()})
	}
	if err := encode.Encode(header{
		Mode: w.Mode, Rules: w.Rules, Generation: w.Generation, Digest: w.Digest, Changes: w.Changes, Unsettled: w.Unsettled,
		NoIPv6: w.NoIPv6, Settings: w.Desired.Node, Frontends: len(w.Desired.Frontends),
		ClusterIPs: slices.Collect(maps.Keys(w.Desired.ClusterIPs)), LocalEndpoints: slices.Collect(maps.Keys(w.Desired.LocalEndpoints)),
	}); err != nil {
		return fmt.Errorf("answer what is desired: %w", err)
	}
	for _, f := range w.Desired.Frontends {
		if err := encode.Encode(f); err != nil {
			return fmt.Errorf("answer what is desired: %w", err)
		}
	}
	return nil
}

// readHeader reads the beginning of an answer.
func readHeader(decode *json.Decoder) (h header, err error) {
	if err := decode.Decode(&h); err != nil {
		return h, fmt.Errorf("read the agent's answer: %w", err)
	}
	if h.Error != "" {
		return h, fmt.Errorf("the agent answers: %s", h.Error)
	}
	return h, nil
}

// read reads an answer.
func read(from io.Reader) (engine.Wanted, error) {
	decode := json.NewDecoder(from)
	h, err := readHeader(decode)
	w := engine.Wanted{Mode: h.Mode, Rules: h.Rules, Generation: h.Generation, Digest: h.Digest, Changes: h.Changes,
		Unsettled: h.Unsettled, NoIPv6: h.NoIPv6, Desired: model.NewDesired()}
	if err != nil {
		return w, err
	}
	w.Desired.Node = h.Settings
	for _, a := range h.ClusterIPs {
		w.Desired.ClusterIPs[a] = struct{}{}
	}
	for _, a := range h.LocalEndpoints {
		w.Desired.LocalEndpoints[a] = struct{}{}
	}
	for range h.Frontends {
		var f model.Frontend
		if err := decode.Decode(&f); err != nil {
			return w, fmt.Errorf("read the agent's answer: %w", err)
		}
		w.Desired.Frontends[f.Key] = &f
	}
	return w, nil
}
