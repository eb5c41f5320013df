// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kernel shows what is in the kernels of nodes: it runs `fairlead-agent inspect` in the
// agents' Pods.
package kernel

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/rules/inspection"
)

// Exec runs a command in a container of a Pod.
type Exec func(ctx context.Context, pod *corev1.Pod, container string, command []string, s Streams) error

// Streams are the standard streams of a command; no In: it has none.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// Agents are the agents' Pods, by node.
type Agents struct {
	pods map[string]*corev1.Pod
	exec Exec
}

// container is the agent's in its Pod, and program its path there.
const (
	container = "agent"
	program   = "/fairlead-agent"
)

// FindAgents finds the agents' Pods in their namespace.
func FindAgents(ctx context.Context, api client.Reader, namespace string, exec Exec) (*Agents, error) {
	var pods corev1.PodList
	if err := api.List(ctx, &pods, client.InNamespace(namespace),
		client.MatchingLabels{"app.kubernetes.io/name": "fairlead", "app.kubernetes.io/component": "agent"}); err != nil {
		return nil, fmt.Errorf("list the agents' Pods: %w", err)
	}
	if len(pods.Items) == 0 {
		return nil, fmt.Errorf("namespace %s has no Pods of agents", namespace)
	}
	out := &Agents{pods: map[string]*corev1.Pod{}, exec: exec}
	for i := range pods.Items {
		// During an update a node has two for a moment.
		if p := &pods.Items[i]; p.Status.Phase == corev1.PodRunning && (out.pods[p.Spec.NodeName] == nil || p.DeletionTimestamp == nil) {
			out.pods[p.Spec.NodeName] = p
		}
	}
	return out, nil
}

// Inspect returns what is in the kernel of a node.
func (a *Agents) Inspect(ctx context.Context, node string, f inspection.Filter) (inspection.Report, error) {
	var report inspection.Report
	command := []string{program, "inspect"}
	for flag, value := range map[string]string{"--service=": f.Service, "--port=": f.Port} {
		if value != "" {
			command = append(command, flag+value)
		}
	}
	if f.OnlyDifferences {
		command = append(command, "--only-differences")
	}
	var out bytes.Buffer
	pod, err := a.run(ctx, node, command, Streams{Out: &out})
	if err != nil {
		return report, err
	}
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		return report, fmt.Errorf("read what Pod %s/%s has printed: %w", pod.Namespace, pod.Name, err)
	}
	if report.Version != inspection.Version {
		return report, fmt.Errorf("the agent's release answers in version %q, and this plugin reads %s", report.Version, inspection.Version)
	}
	return report, nil
}

// run runs a command of the agent's program in its Pod on a node, and returns the Pod. The error is what the command says.
func (a *Agents) run(ctx context.Context, node string, command []string, s Streams) (*corev1.Pod, error) {
	pod := a.pods[node]
	if pod == nil {
		return nil, errors.New("no agent runs on the node")
	}
	var errOut bytes.Buffer
	s.Err = &errOut
	if err := a.exec(ctx, pod, container, command, s); err != nil {
		said := strings.TrimSpace(errOut.String())
		if strings.Contains(said, fmt.Sprintf("unexpected argument %q", command[1])) {
			return nil, fmt.Errorf("the agent is of a release that cannot %s", map[string]string{"inspect": "inspect the kernel", "observe": "observe connections"}[command[1]])
		}
		if said != "" { // then the error is only that it has failed
			return nil, errors.New(strings.TrimPrefix(said, "fairlead-agent: "))
		}
		return nil, fmt.Errorf("run %s in Pod %s/%s: %w", command[1], pod.Namespace, pod.Name, err)
	}
	return pod, nil
}

// Answer is what is in the kernel of a node, or why it is not known.
type Answer struct {
	Report inspection.Report
	Err    error
}

// atOnce is how many nodes are inspected at the same time.
const atOnce = 10

// InspectAll inspects nodes, and returns their answers by node.
func (a *Agents) InspectAll(ctx context.Context, nodes []string, f inspection.Filter) map[string]Answer {
	answers := make([]Answer, len(nodes))
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, node := range nodes {
		group.Go(func() error {
			answers[i].Report, answers[i].Err = a.Inspect(ctx, node, f)
			return nil
		})
	}
	_ = group.Wait() // the errors are in the answers
	out := map[string]Answer{}
	for i, node := range nodes {
		out[node] = answers[i]
	}
	return out
}
