// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubectl

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

// getFrom writes what a Pod serves by HTTP on a port of localhost, as through `kubectl port-forward`.
func getFrom(ctx context.Context, config *rest.Config, clients kubernetes.Interface, pod *corev1.Pod, port int, path string, to io.Writer) error {
	url := clients.CoreV1().RESTClient().Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		return fmt.Errorf("prepare SPDY: %w", err)
	}
	webSocket, err := portforward.NewSPDYOverWebsocketDialerForStreaming(url, config)
	if err != nil {
		return fmt.Errorf("prepare WebSocket: %w", err)
	}
	dialer := portforward.NewFallbackDialerForStreaming(webSocket, spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, http.MethodPost, url), func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	connection, _, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
	if err != nil {
		return fmt.Errorf("forward the port: %w", err)
	}
	defer func() { _ = connection.Close() }() // only read from
	defer context.AfterFunc(ctx, func() { _ = connection.Close() })()
	return fetch(connection, port, path, to)
}

// fetch asks by one request over a connection of the protocol of `kubectl port-forward`: it has a stream for
// errors and one for data.
func fetch(connection httpstream.Connection, port int, path string, to io.Writer) error {
	headers := http.Header{}
	headers.Set(corev1.StreamType, corev1.StreamTypeError)
	headers.Set(corev1.PortHeader, strconv.Itoa(port))
	headers.Set(corev1.PortForwardRequestIDHeader, "0")
	failure, err := connection.CreateStream(headers)
	if err != nil {
		return fmt.Errorf("open the stream of errors: %w", err)
	}
	if err := failure.Close(); err != nil { // nothing is written to it
		return fmt.Errorf("close the stream of errors: %w", err)
	}
	said := make(chan string, 1)
	go func() {
		text, _ := io.ReadAll(io.LimitReader(failure, 4<<10)) // it ends with the connection
		said <- strings.TrimSpace(string(text))
	}()
	headers.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := connection.CreateStream(headers)
	if err != nil {
		return fmt.Errorf("open the stream of data: %w", err)
	}
	err = ask(data, path, to)
	_ = connection.Close() // which ends the reading of errors
	if text := <-said; err != nil && text != "" {
		return errors.New(text)
	}
	return err
}

func ask(server io.ReadWriter, path string, to io.Writer) error {
	if _, err := fmt.Fprintf(server, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path); err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(server), nil)
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	defer func() { _ = answer.Body.Close() }() // only read from
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the answer is %s", answer.Status)
	}
	_, err = io.Copy(to, answer.Body)
	return err
}
