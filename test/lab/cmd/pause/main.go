// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Command pause is the lab's pause image: it holds the namespaces of a Pod until it is
// stopped, and as their first process it reaps the others.
package main

import (
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

func main() {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGCHLD)
	for reap(); <-signals == unix.SIGCHLD; {
		reap()
	}
}

// reap takes the exit status of all processes that have ended: one signal may stand for many.
func reap() {
	for {
		if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != unix.EINTR && (err != nil || pid <= 0) {
			return
		}
	}
}
