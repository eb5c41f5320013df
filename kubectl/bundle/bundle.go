// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package bundle makes a support archive: what Fairlead's objects, logs and checks say, without Secrets and
// without what is not its business.
package bundle

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/kubectl/internal/podstatus"
	"github.com/fairlead-proxy/fairlead/kubectl/internal/table"
)

const (
	// folder has all files of the archive.
	folder = "fairlead-bundle/"
	// partTimeout is how long a part may take.
	partTimeout = 2 * time.Minute

	// logLines and logBytes are what is read of a log, its end.
	logLines, logBytes = int64(4000), int64(4 << 20)
	// logsBytes is the size of all logs and metrics, from which on others are left out.
	logsBytes = int64(256 << 20)
)

// Sources are where the archive comes from.
type Sources struct {
	API    client.Reader
	Scheme *runtime.Scheme
	// Namespace is the controller's and the agents'.
	Namespace string
	// Logs writes the log of a container.
	Logs func(ctx context.Context, pod *corev1.Pod, options *corev1.PodLogOptions, to io.Writer) error
	// Metrics writes the metrics of an agent.
	Metrics func(ctx context.Context, pod *corev1.Pod, to io.Writer) error
	// Texts are files that others write.
	Texts []Text

	// bound is logsBytes, if it is not 0.
	bound int64
}

// Text is a file of the archive.
type Text struct {
	Name, About string
	Write       func(ctx context.Context, to io.Writer) error
}

// Summary says what an archive has.
type Summary struct {
	Files  int
	Faults []string
}

// Write writes the archive. What cannot be read is left out and noted in it; an error is one of writing.
func Write(ctx context.Context, s Sources, to io.Writer) (Summary, error) {
	a, err := newArchive(to)
	if err != nil {
		return Summary{}, err
	}
	defer func() { _ = a.spool.Close() }() // it is gone already
	for _, t := range s.Texts {
		if err := a.add(ctx, t.Name, t.About, t.Write); err != nil {
			return Summary{}, err
		}
	}
	for _, f := range objectsOf(s.Namespace) {
		err := a.add(ctx, f.name, f.about, func(ctx context.Context, w io.Writer) error { return f.write(ctx, s.API, s.Scheme, w) })
		if err != nil {
			return Summary{}, err
		}
	}
	if err := s.addPods(ctx, a); err != nil {
		return Summary{}, err
	}
	if err := a.close(ctx); err != nil {
		return Summary{}, err
	}
	return Summary{Files: len(a.index), Faults: a.faults}, nil
}

// addPods adds what the Pods say. Those that are not well come first: there is a bound.
func (s *Sources) addPods(ctx context.Context, a *archive) error {
	var list corev1.PodList
	if err := s.API.List(ctx, &list, client.InNamespace(s.Namespace), client.MatchingLabels{"app.kubernetes.io/name": "fairlead"}); err != nil {
		a.fault("logs", fmt.Errorf("list Pods: %w", err))
		return ctx.Err()
	}
	pods := list.Items
	slices.SortFunc(pods, func(x, y corev1.Pod) int { return cmp.Or(rank(&x)-rank(&y), cmp.Compare(x.Name, y.Name)) })
	start, bound := a.written, cmp.Or(s.bound, logsBytes)
	for i := range pods {
		if a.written-start > bound {
			a.fault("logs", fmt.Errorf("those of %d Pods are left out: those of the others have %d MiB", len(pods)-i, (a.written-start)>>20))
			break
		}
		if err := s.addPod(ctx, a, &pods[i]); err != nil {
			return err
		}
	}
	return nil
}

// rank is 0 for controllers, 1 for Pods that are not well, and 2 for the others.
func rank(pod *corev1.Pod) int {
	switch {
	case pod.Labels["app.kubernetes.io/component"] == "controller":
		return 0
	case !podstatus.IsReady(pod) || slices.ContainsFunc(pod.Status.ContainerStatuses, restarted):
		return 1
	}
	return 2
}

func restarted(c corev1.ContainerStatus) bool { return c.RestartCount > 0 }

func (s *Sources) addPod(ctx context.Context, a *archive, pod *corev1.Pod) error {
	add := func(name, about string, write func(context.Context, io.Writer) error) error {
		return a.add(ctx, name, about+" on node "+cmp.Or(pod.Spec.NodeName, "-"), write)
	}
	log := func(container string, previous bool) func(context.Context, io.Writer) error {
		return func(ctx context.Context, w io.Writer) error {
			return s.Logs(ctx, pod, &corev1.PodLogOptions{Container: container, Previous: previous, Timestamps: true,
				TailLines: new(logLines), LimitBytes: new(logBytes)}, w)
		}
	}
	for _, c := range pod.Status.ContainerStatuses {
		name := "logs/" + pod.Name + "/" + c.Name
		if err := add(name+".log", "the end of the log", log(c.Name, false)); err != nil {
			return err
		}
		if !restarted(c) {
			continue
		}
		if err := add(name+".previous.log", "the end of the log of the container before", log(c.Name, true)); err != nil {
			return err
		}
	}
	if pod.Labels["app.kubernetes.io/component"] != "agent" {
		return nil
	}
	return add("metrics/"+pod.Name+".txt", "metrics of the agent", func(ctx context.Context, w io.Writer) error { return s.Metrics(ctx, pod, w) })
}

func writeLines(to io.Writer, lines []string) error {
	_, err := io.WriteString(to, strings.Join(lines, "\n")+"\n")
	return err
}

// writeIndex writes what each file is, as a table.
func writeIndex(to io.Writer, lines []string) error {
	p := table.NewPrinter(to)
	p.Line("FILE\tWHAT")
	for _, line := range lines {
		p.Line("%s", line)
	}
	return p.End()
}
