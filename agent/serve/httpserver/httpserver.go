// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package httpserver has what all HTTP servers of the agent share: how long a client
// may take, and when a port is tried again that another program holds.
package httpserver

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/go-logr/logr"

	"github.com/fairlead-proxy/fairlead/agent/backoff"
)

const (
	// timeout bounds each part of a request, read and written: clients ask little,
	// and one that sends nothing must not hold a descriptor.
	timeout = 10 * time.Second

	// idleTimeout bounds the time between two requests of a connection.
	idleTimeout = time.Minute

	// maxHeader is the limit of a request's header in bytes.
	maxHeader = 4 << 10
)

// Pauses before a port is tried again. The maximum is short: once kube-proxy has ended,
// load balancers take a node whose port does not answer as down.
const (
	RetryMin = time.Second
	RetryMax = 5 * time.Second
)

// Name is what all answers have in the header Server: kube-proxy has the same ports and answers.
const Name = "fairlead-agent"

// New returns a server without an address.
func New(handler http.Handler, log logr.Logger) *http.Server {
	named := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", Name)
		handler.ServeHTTP(w, r)
	})
	return &http.Server{
		Handler: named, ReadTimeout: timeout, WriteTimeout: timeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(logr.ToSlogHandler(log), slog.LevelInfo),
	}
}

// Retry returns the back-off of a port that cannot be opened.
func Retry() backoff.Backoff { return backoff.Backoff{Min: RetryMin, Max: RetryMax} }
