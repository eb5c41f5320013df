// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package echo

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// start runs a server on free ports of the loopback and returns its addresses.
func start(t *testing.T) Server {
	t.Helper()
	server := Server{Name: "me"}
	for _, addresses := range []*[]string{&server.HTTP, &server.TCP} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		*addresses = []string{listener.Addr().String()}
		listener.Close()
	}
	server.UDP = server.TCP
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return server
}

// eventually dials until the server listens.
func eventually(t *testing.T, network, address string) net.Conn {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		conn, err := net.Dial(network, address)
		if err == nil {
			t.Cleanup(func() { conn.Close() })
			if err := conn.SetDeadline(deadline); err != nil {
				t.Fatal(err)
			}
			return conn
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func TestAnswers(t *testing.T) {
	server := start(t)

	conn := eventually(t, "tcp", server.TCP[0])
	want := fmt.Sprintf("pod=me client=%s\n", conn.LocalAddr())
	answers := bufio.NewReader(conn)
	for range 3 {
		if _, err := io.WriteString(conn, "hello\n"); err != nil {
			t.Fatal(err)
		}
		if got, err := answers.ReadString('\n'); err != nil || got != want {
			t.Errorf("over TCP %q, %v, want %q", got, err, want)
		}
	}

	conn = eventually(t, "udp", server.UDP[0])
	want = fmt.Sprintf("pod=me client=%s\n", conn.LocalAddr())
	if _, err := io.WriteString(conn, "hello"); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 100)
	if n, err := conn.Read(buffer); err != nil || string(buffer[:n]) != want {
		t.Errorf("over UDP %q, %v, want %q", buffer[:n], err, want)
	}

	conn = eventually(t, "tcp", server.HTTP[0])
	want = fmt.Sprintf("pod=me client=%s\n", conn.LocalAddr())
	request, err := http.NewRequest(http.MethodGet, "http://"+server.HTTP[0]+"/any", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Forwarded-For", "192.0.2.1")
	want = strings.TrimSuffix(want, "\n") + " forwarded=192.0.2.1\n"
	if err := request.Write(conn); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != want {
		t.Errorf("over HTTP %q, %v, want %q", body, err, want)
	}
}

func TestAnswerUnmapsAddresses(t *testing.T) {
	for client, want := range map[string]string{
		"[::ffff:10.1.2.3]:80": "10.1.2.3:80",
		"[fd00::1]:80":         "[fd00::1]:80",
		"odd":                  "odd",
	} {
		if got := (Server{Name: "me"}).answer(client); got != "pod=me client="+want+"\n" {
			t.Errorf("answer to %s: %q", client, got)
		}
	}
}

func TestRunReportsAnAddressInUse(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	server := Server{TCP: []string{listener.Addr().String()}}
	if err := server.Run(context.Background()); err == nil {
		t.Error("no error for an address in use")
	}
}
