// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/streaming/pkg/httpstream"

	"github.com/fairlead-proxy/fairlead/kubectl/kernel"
)

// execIn returns what runs commands in containers, as `kubectl exec` does: by WebSocket, or by SPDY
// where a proxy or the apiserver knows no WebSocket.
func execIn(p *plugin) (kernel.Exec, error) {
	config, clients, err := clientsOf(p)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, pod *corev1.Pod, container string, command []string, s kernel.Streams) error {
		request := clients.CoreV1().RESTClient().Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("exec").
			VersionedParams(&corev1.PodExecOptions{Container: container, Command: command, Stdin: s.In != nil, Stdout: true, Stderr: true}, clientgoscheme.ParameterCodec)
		executor, err := executorFor(config, request)
		if err != nil {
			return err
		}
		return executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: s.In, Stdout: s.Out, Stderr: s.Err})
	}, nil
}

// clientsOf returns what subresources of Pods need, such as exec: no client.Client has them.
func clientsOf(p *plugin) (*rest.Config, kubernetes.Interface, error) {
	config, _, err := p.config()
	if err != nil {
		return nil, nil, err
	}
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, nil, fmt.Errorf("create the client: %w", err)
	}
	return config, clients, nil
}

func executorFor(config *rest.Config, request *rest.Request) (remotecommand.Executor, error) {
	spdy, err := remotecommand.NewSPDYExecutor(config, "POST", request.URL())
	if err != nil {
		return nil, fmt.Errorf("prepare SPDY: %w", err)
	}
	webSocket, err := remotecommand.NewWebSocketExecutor(config, "GET", request.URL().String())
	if err != nil {
		return nil, fmt.Errorf("prepare WebSocket: %w", err)
	}
	return remotecommand.NewFallbackExecutor(webSocket, spdy, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
}
