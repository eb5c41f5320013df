// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/fairlead-proxy/fairlead/test/lab"
)

const (
	// stopTime is how long a supervisor may take to end on request.
	stopTime = 10 * time.Second
	// killTime is how long the kernel may take to end it.
	killTime = 5 * time.Second
)

// down stops the supervisor, if there is one, and removes what is left of the
// lab, if anything is.
func down(config lab.Config, keepLogs string) (err error) {
	if os.Getuid() != 0 {
		return errors.New("needs root, to remove network namespaces")
	}
	lock, err := stop(config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	if err := lab.Sweep(config); err != nil {
		return err
	}
	if keepLogs != "" {
		if err := copyLogs(config.LogDir(), keepLogs); err != nil {
			return err
		}
	}
	return lab.Remove(config)
}

// stop takes the lock from its holder: by SIGTERM, then by SIGKILL.
func stop(config lab.Config) (*lab.Lock, error) {
	for _, way := range []struct {
		signal   os.Signal
		patience time.Duration
	}{{syscall.SIGTERM, stopTime}, {syscall.SIGKILL, killTime}} {
		signalled := false
		for deadline := time.Now().Add(way.patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			lock, err := lab.TryLock(config)
			var held *lab.HeldError
			if !errors.As(err, &held) {
				return lock, err
			}
			if held.PID == 0 || signalled {
				continue
			}
			process, err := os.FindProcess(held.PID)
			if err != nil {
				return nil, err
			}
			if err := process.Signal(way.signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
				return nil, fmt.Errorf("stop the supervisor: %w", err)
			}
			signalled = true
		}
	}
	return nil, errors.New("the supervisor does not end")
}

func copyLogs(from, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return fmt.Errorf("keep the logs: %w", err)
	}
	logs, err := os.ReadDir(from)
	if err != nil {
		return fmt.Errorf("keep the logs: %w", err)
	}
	for _, log := range logs {
		content, err := os.ReadFile(filepath.Join(from, log.Name()))
		if err != nil {
			return fmt.Errorf("keep the logs: %w", err)
		}
		if err := os.WriteFile(filepath.Join(to, log.Name()), content, 0o644); err != nil {
			return fmt.Errorf("keep the logs: %w", err)
		}
	}
	return nil
}
