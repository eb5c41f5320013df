// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/fairlead-proxy/fairlead/test/lab/kubelet/container"
)

// Target is the container that is probed.
type Target struct {
	// IP is the Pod's address.
	IP string
	// Container has the named ports.
	Container *corev1.Container
	// Process runs commands.
	Process *container.Process
	// Dial connects from the node.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Check makes one attempt of a probe or a lifecycle hook's request.
func (t Target) Check(ctx context.Context, handler corev1.ProbeHandler) error {
	switch {
	case handler.HTTPGet != nil:
		return t.HTTPGet(ctx, handler.HTTPGet)
	case handler.TCPSocket != nil:
		return t.tcpSocket(ctx, handler.TCPSocket)
	case handler.Exec != nil:
		return t.Exec(ctx, handler.Exec.Command)
	case handler.GRPC != nil:
		return t.grpc(ctx, handler.GRPC)
	}
	return errors.New("a probe of no known kind")
}

func (t Target) address(host string, port intstr.IntOrString) (string, error) {
	if host == "" {
		host = t.IP
	}
	number := port.IntValue()
	if port.Type == intstr.String && number == 0 {
		for _, named := range t.Container.Ports {
			if named.Name == port.StrVal {
				number = int(named.ContainerPort)
			}
		}
	}
	if number <= 0 || number > 65535 {
		return "", fmt.Errorf("the container has no port %q", port.String())
	}
	return net.JoinHostPort(host, strconv.Itoa(number)), nil
}

// HTTPGet succeeds for a status from 200 to 399. Certificates are not checked,
// as the API says.
func (t Target) HTTPGet(ctx context.Context, action *corev1.HTTPGetAction) error {
	address, err := t.address(action.Host, action.Port)
	if err != nil {
		return err
	}
	scheme := "http"
	if action.Scheme == corev1.URISchemeHTTPS {
		scheme = "https"
	}
	target, err := url.Parse(action.Path)
	if err != nil {
		return fmt.Errorf("HTTP probe: %w", err)
	}
	target.Scheme, target.Host = scheme, address
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return fmt.Errorf("HTTP probe: %w", err)
	}
	request.Header.Set("User-Agent", "kube-probe/lab")
	for _, header := range action.HTTPHeaders {
		if http.CanonicalHeaderKey(header.Name) == "Host" {
			request.Host = header.Value
			continue
		}
		request.Header.Add(header.Name, header.Value)
	}
	client := http.Client{
		Transport: &http.Transport{
			DialContext: t.Dial, DisableKeepAlives: true,
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // by the API's definition
		},
		// A redirect is an answer: below 400.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode < 200 || response.StatusCode >= 400 {
		return fmt.Errorf("HTTP probe failed with statuscode: %d", response.StatusCode)
	}
	return nil
}

func (t Target) tcpSocket(ctx context.Context, action *corev1.TCPSocketAction) error {
	address, err := t.address(action.Host, action.Port)
	if err != nil {
		return err
	}
	conn, err := t.Dial(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// Exec succeeds when the command's exit code is 0.
func (t Target) Exec(ctx context.Context, command []string) error {
	var output bytes.Buffer
	exit, err := t.Process.Exec(ctx, command, container.Streams{Out: &output})
	if err != nil {
		return err
	}
	if exit.Code != 0 {
		return fmt.Errorf("command ended with exit code %d: %s", exit.Code, bytes.TrimSpace(output.Bytes()))
	}
	return nil
}

func (t Target) grpc(ctx context.Context, action *corev1.GRPCAction) error {
	address := net.JoinHostPort(t.IP, strconv.Itoa(int(action.Port)))
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return t.Dial(ctx, "tcp", address)
		}))
	if err != nil {
		return fmt.Errorf("gRPC probe: %w", err)
	}
	defer conn.Close()
	request := &grpc_health_v1.HealthCheckRequest{}
	if action.Service != nil {
		request.Service = *action.Service
	}
	answer, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, request)
	if err != nil {
		return fmt.Errorf("gRPC probe: %w", err)
	}
	if answer.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		return fmt.Errorf("gRPC probe: the service is %s", answer.Status)
	}
	return nil
}
