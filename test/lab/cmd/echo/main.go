// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Command echo is the lab's default image: it answers with its Pod's name and
// the client's address over HTTP, TCP and UDP.
//
//	echo [--http :80,:8080] [--tcp :9000] [--udp :9000]
//
// The environment variable PORT changes the default of --http, and POD_NAME the
// name, which is otherwise the host name. An empty list switches a protocol off.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/fairlead-proxy/fairlead/test/lab/echo"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "echo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	http := flag.String("http", ":"+cmp.Or(os.Getenv("PORT"), "80"), "addresses to serve HTTP on")
	tcp := flag.String("tcp", ":9000", "addresses to answer lines on, over TCP")
	udp := flag.String("udp", ":9000", "addresses to answer datagrams on")
	flag.Parse()
	hostname, err := os.Hostname()
	if err != nil {
		return err
	}
	server := echo.Server{
		Name: cmp.Or(os.Getenv("POD_NAME"), hostname),
		HTTP: list(*http), TCP: list(*tcp), UDP: list(*udp),
	}
	return server.Run(ctx)
}

func list(value string) []string {
	return strings.FieldsFunc(value, func(r rune) bool { return r == ',' })
}
