// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package connect tests whether Pods of all nodes reach Pods of all nodes by Services, with Pods and Services of its own.
package connect

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-proxy/fairlead/kubectl/internal/podstatus"
	"github.com/fairlead-proxy/fairlead/kubectl/kernel"
)

const (
	// lookInterval is how often Pods are looked at.
	lookInterval = time.Second
	// patience is how long a connection is tried again: rules need a moment to reach all nodes.
	patience = 15 * time.Second
	// cleanUpTime is how long the end may take, after Ctrl-C, too.
	cleanUpTime = time.Minute
	// atOnce is how many connections are made at the same time.
	atOnce = 10
)

// Options are what a test needs.
type Options struct {
	API  client.Client
	Exec kernel.Exec
	// Image has agnhost, of Kubernetes' tests.
	Image string
	// MaxNodes is how many nodes take part; the number of connections is twice its square.
	MaxNodes int
	// Started is called with the name of the namespace.
	Started func(namespace string)
}

// server is a node that takes part.
type server struct {
	node    *corev1.Node
	pod     *corev1.Pod
	service *corev1.Service
}

// Run makes a namespace, tests, and deletes the namespace, whatever happens.
func Run(ctx context.Context, o Options) (report Report, err error) {
	var nodes corev1.NodeList
	if err := o.API.List(ctx, &nodes); err != nil {
		return Report{}, fmt.Errorf("list Nodes: %w", err)
	}
	slices.SortFunc(nodes.Items, func(a, b corev1.Node) int { return cmp.Compare(a.Name, b.Name) })
	namespace := newNamespace()
	if err := o.API.Create(ctx, namespace); err != nil {
		return Report{}, fmt.Errorf("create a namespace: %w", err)
	}
	defer func() { err = errors.Join(err, cleanUp(context.WithoutCancel(ctx), o.API, namespace)) }()
	o.Started(namespace.Name)
	report = Report{Nodes: []string{}, Results: []Result{}}
	var servers []server
	for i := range nodes.Items {
		n := &nodes.Items[i]
		switch {
		case !isNodeReady(n):
			report.Skipped = append(report.Skipped, Skipped{Node: n.Name, Reason: "the node is not ready"})
			continue
		case len(servers) >= o.MaxNodes:
			report.Skipped = append(report.Skipped, Skipped{Node: n.Name, Reason: "left out: more than --max-nodes"})
			continue
		}
		name := "node-" + strconv.Itoa(len(servers))
		s := server{n, newPod(namespace.Name, name, n.Name, o.Image), newService(namespace.Name, name)}
		for _, object := range []client.Object{s.pod, s.service} {
			if err := create(ctx, o.API, object); err != nil {
				return report, fmt.Errorf("create %s for node %s: %w", name, n.Name, err)
			}
		}
		servers = append(servers, s)
	}
	servers, err = awaitPods(ctx, o.API, servers, &report)
	if err != nil {
		return report, err
	}
	connectAll(ctx, o, servers, &report)
	return report, ctx.Err()
}

// create creates an object. A new namespace has no service account for a moment, and Pods are forbidden without.
func create(ctx context.Context, api client.Client, object client.Object) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, lookInterval, patience, true, func(ctx context.Context) (bool, error) {
		if last = api.Create(ctx, object); apierrors.IsForbidden(last) && strings.Contains(last.Error(), "service account") {
			return false, nil
		}
		return true, last
	})
	return cmp.Or(last, err)
}

// cleanUp deletes the namespace, and waits until it is gone.
func cleanUp(ctx context.Context, api client.Client, namespace *corev1.Namespace) error {
	ctx, stop := context.WithTimeout(ctx, cleanUpTime)
	defer stop()
	err := api.Delete(ctx, namespace)
	for client.IgnoreNotFound(err) == nil {
		if err = api.Get(ctx, client.ObjectKeyFromObject(namespace), namespace); err != nil {
			break
		}
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case <-time.After(lookInterval):
		}
	}
	if client.IgnoreNotFound(err) == nil {
		return nil
	}
	return fmt.Errorf("the namespace %s is not gone yet, delete it: %w", namespace.Name, err)
}

// awaitPods waits until all Pods are ready, and returns those that are when the time is over.
func awaitPods(ctx context.Context, api client.Client, servers []server, report *Report) ([]server, error) {
	var pods corev1.PodList
	look := func(ctx context.Context) (bool, error) {
		if len(servers) == 0 {
			return true, nil
		}
		if err := api.List(ctx, &pods, client.InNamespace(servers[0].pod.Namespace)); err != nil {
			return false, err
		}
		return !slices.ContainsFunc(pods.Items, func(p corev1.Pod) bool { return !podstatus.IsReady(&p) }), nil
	}
	// Half of what is left: the connections need some time, too.
	deadline, limited := ctx.Deadline()
	bounded, stop := ctx, func() {}
	if limited {
		bounded, stop = context.WithDeadline(ctx, time.Now().Add(time.Until(deadline)/2))
	}
	defer stop()
	if err := wait.PollUntilContextCancel(bounded, lookInterval, true, look); err != nil && bounded.Err() == nil || ctx.Err() != nil {
		return nil, fmt.Errorf("wait for the Pods: %w", err)
	}
	byName := map[string]*corev1.Pod{}
	for i := range pods.Items {
		byName[pods.Items[i].Name] = &pods.Items[i]
	}
	return slices.DeleteFunc(servers, func(s server) bool {
		pod := byName[s.pod.Name]
		if pod != nil && podstatus.IsReady(pod) {
			report.Nodes = append(report.Nodes, s.node.Name)
			return false
		}
		reason := "its Pod is gone"
		if pod != nil {
			reason = "its Pod is not ready: " + podstatus.Waiting(pod)
		}
		report.Skipped = append(report.Skipped, Skipped{Node: s.node.Name, Reason: reason, Failed: true})
		return true
	}), nil
}

// connectAll tries each connection from each node to each.
func connectAll(ctx context.Context, o Options, servers []server, report *Report) {
	for _, client := range servers {
		for _, s := range servers {
			nodePort := strconv.Itoa(int(s.service.Spec.Ports[0].NodePort))
			for kind, address := range map[Kind]string{
				ClusterIP: net.JoinHostPort(s.service.Spec.ClusterIP, strconv.Itoa(port)),
				NodePort:  net.JoinHostPort(addressOf(s.node, s.service.Spec.ClusterIP), nodePort),
			} {
				report.Results = append(report.Results, Result{From: client.node.Name, To: s.node.Name, Kind: kind, Address: address})
			}
		}
	}
	slices.SortFunc(report.Results, func(a, b Result) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To), cmp.Compare(a.Kind, b.Kind))
	})
	pods := map[string]*corev1.Pod{}
	for _, s := range servers {
		pods[s.node.Name] = s.pod
	}
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i := range report.Results {
		group.Go(func() error {
			r := &report.Results[i]
			r.Error = o.connect(ctx, pods[r.From], r.Address)
			return nil
		})
	}
	_ = group.Wait() // the errors are in the report
}

// connect opens a connection from a Pod, again and again for some time, and returns why it failed.
func (o *Options) connect(ctx context.Context, pod *corev1.Pod, address string) string {
	failed := ""
	_ = wait.PollUntilContextTimeout(ctx, lookInterval, patience, true, func(ctx context.Context) (bool, error) {
		var out, errOut bytes.Buffer
		err := o.Exec(ctx, pod, container, []string{"/agnhost", "connect", "--timeout=3s", address}, kernel.Streams{Out: &out, Err: &errOut})
		if err == nil {
			failed = ""
			return true, nil
		}
		failed = cmp.Or(strings.Join(strings.Fields(errOut.String()+" "+out.String()), " "), err.Error())
		return false, nil
	})
	if ctx.Err() != nil && failed == "" {
		failed = "the time is over"
	}
	return failed
}
