// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/fairlead-proxy/fairlead/test/lab"
)

// status prints what runs. It fails when no lab is up.
func status(ctx context.Context, config lab.Config) error {
	pid, err := lab.Holder(config)
	if err != nil {
		return err
	}
	if pid == 0 {
		return errors.New("no lab is running")
	}
	state, err := config.ReadState()
	if err != nil || !state.Ready {
		return fmt.Errorf("a lab is starting (process %d)", pid)
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintf(out, "PROCESS\tPID\tRESTARTS\n")
	fmt.Fprintf(out, "supervisor\t%d\t\n", state.PID)
	for _, component := range state.Components {
		fmt.Fprintf(out, "%s\t%d\t%d\n", component.Name, component.PID, component.Restarts)
	}
	client, err := connect(config)
	if err != nil {
		return err
	}
	if err := printNodes(ctx, out, client); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nkubeconfig: %s\nlogs: %s\n", config.Kubeconfig(), config.LogDir())
	return out.Flush()
}

func printNodes(ctx context.Context, out *tabwriter.Writer, client kubernetes.Interface) error {
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	pods, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list Pods: %w", err)
	}
	count := map[string]int{}
	for _, pod := range pods.Items {
		count[pod.Spec.NodeName]++
	}
	fmt.Fprintf(out, "\nNODE\tREADY\tADDRESSES\tPOD RANGES\tPODS\n")
	for _, node := range nodes.Items {
		var addresses []string
		for _, address := range node.Status.Addresses {
			if address.Type == corev1.NodeInternalIP {
				addresses = append(addresses, address.Address)
			}
		}
		ready := corev1.ConditionUnknown
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady {
				ready = condition.Status
			}
		}
		fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%d\n", node.Name, ready,
			strings.Join(addresses, " "), strings.Join(node.Spec.PodCIDRs, " "), count[node.Name])
	}
	return nil
}

func connect(config lab.Config) (kubernetes.Interface, error) {
	rest, err := clientcmd.BuildConfigFromFlags("", config.Kubeconfig())
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	return kubernetes.NewForConfig(rest)
}
