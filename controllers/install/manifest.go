// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	"sigs.k8s.io/yaml"

	agentmanifest "github.com/fairlead-proxy/fairlead/config/agent"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// Name is the name of the agent's DaemonSet and of its ServiceAccount.
const Name = "fairlead-agent"

// apiserverFlag is the agent's flag for an address of the apiserver.
const apiserverFlag = "--apiserver="

// manifest returns the agent's DaemonSet with the values of this cluster.
func manifest(namespace, image string, apiservers []string) (*appsv1ac.DaemonSetApplyConfiguration, error) {
	ds := &appsv1ac.DaemonSetApplyConfiguration{}
	if err := yaml.UnmarshalStrict(agentmanifest.DaemonSet, ds); err != nil {
		return nil, fmt.Errorf("read the embedded manifest of the agent: %w", err)
	}
	ds.WithNamespace(namespace)
	container := &ds.Spec.Template.Spec.Containers[0]
	container.WithImage(image)
	for _, a := range apiservers {
		container.WithArgs(apiserverFlag + a)
	}
	return ds, nil
}

// addressesOf returns the addresses in the EndpointSlice of the apiservers, sorted. One that
// stops removes its own.
func addressesOf(endpointSlices []discoveryv1.EndpointSlice) []string {
	var out []string
	for _, s := range endpointSlices {
		if s.Name != model.APIServerService.Name {
			continue
		}
		for _, p := range s.Ports {
			if p.Port == nil {
				continue
			}
			for _, e := range s.Endpoints {
				if e.Conditions.Ready != nil && !*e.Conditions.Ready {
					continue
				}
				for _, a := range e.Addresses {
					out = append(out, "https://"+net.JoinHostPort(a, strconv.Itoa(int(*p.Port))))
				}
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// settle decides which addresses the agents get. They keep their addresses while enough of
// them are current: each change restarts all agents, and an agent that has reached one
// apiserver learns the others from the Service. An unreachable address does no harm.
func settle(current *appsv1.DaemonSet, found []string) []string {
	had := apiserversOf(current)
	reachable := 0
	for _, a := range found {
		if slices.Contains(had, a) {
			reachable++
		}
	}
	if reachable >= min(enoughServers, len(found)) {
		return had
	}
	return found
}

// enoughServers is the number of current addresses with which a new agent reaches an
// apiserver, even while one is down.
const enoughServers = 2

func apiserversOf(ds *appsv1.DaemonSet) []string {
	var out []string
	if ds == nil || len(ds.Spec.Template.Spec.Containers) == 0 {
		return nil
	}
	for _, arg := range ds.Spec.Template.Spec.Containers[0].Args {
		if a, ok := strings.CutPrefix(arg, apiserverFlag); ok {
			out = append(out, a)
		}
	}
	return out
}
