// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/fairlead-proxy/fairlead/test/lab"
)

const (
	// superviseCommand is what `lab up` starts itself with.
	superviseCommand = "supervise"
	// What the supervisor inherits: the lock, and a pipe for its progress.
	lockFD, progressFD = 3, 4
	// readyLine is the last line of the progress of a start that succeeded.
	readyLine = "ready"
)

// up starts a supervisor in a session of its own and waits until it is ready.
func up(ctx context.Context, config lab.Config) (err error) {
	if os.Getuid() != 0 {
		return errors.New("needs root, to make network namespaces")
	}
	began := time.Now()
	lock, err := lab.TryLock(config)
	if err != nil {
		return err
	}
	// The supervisor has inherited it by then.
	defer func() { err = errors.Join(err, lock.Release()) }()
	if err := prepare(ctx, &config); err != nil {
		return errors.Join(err, lab.Remove(config))
	}
	supervisor, progress, err := startSupervisor(config, lock)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = supervisor.Process.Signal(syscall.SIGTERM) })
	defer stop()
	if follow(progress, began) {
		printHint(config)
		return nil
	}
	err = supervisor.Wait()
	if ctx.Err() != nil {
		return errors.Join(errors.New("interrupted"), lab.Sweep(config), lab.Remove(config))
	}
	return fmt.Errorf("the lab did not start (%w), its logs are in %s", err, config.LogDir())
}

// startSupervisor runs this very program again, detached from the terminal.
func startSupervisor(config lab.Config, lock *lab.Lock) (*exec.Cmd, io.Reader, error) {
	encoded, err := json.Marshal(config)
	if err != nil {
		return nil, nil, err
	}
	log, err := os.Create(filepath.Join(config.LogDir(), "supervisor.log"))
	if err != nil {
		return nil, nil, err
	}
	defer log.Close()
	read, write, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer write.Close()
	cmd := exec.Command("/proc/self/exe", superviseCommand, string(encoded))
	cmd.Dir = config.Dir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{lock.File, write}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, nil, fmt.Errorf("start the supervisor: %w", err)
	}
	return cmd, read, nil
}

// follow prints the supervisor's progress and reports whether it got ready.
func follow(progress io.Reader, began time.Time) bool {
	lines := bufio.NewScanner(progress)
	for lines.Scan() {
		if lines.Text() == readyLine {
			return true
		}
		fmt.Printf("lab %5.1fs  %s\n", time.Since(began).Seconds(), lines.Text())
	}
	return false
}

// supervise is the other side of up.
func supervise(ctx context.Context, args []string) (err error) {
	var config lab.Config
	if len(args) != 1 || json.Unmarshal([]byte(args[0]), &config) != nil {
		return errors.New("supervise is started by `lab up`")
	}
	lock := &lab.Lock{File: os.NewFile(lockFD, "lock")}
	defer func() { err = errors.Join(err, lock.Release()) }()
	progress := os.NewFile(progressFD, "progress")
	if err := lock.Sign(); err != nil {
		return err
	}
	// The reader may have exited: that must not stop the lab.
	tell := func(line string) {
		fmt.Println(line)
		_, _ = fmt.Fprintln(progress, line)
	}
	err = lab.Run(ctx, config, tell, func() {
		tell(readyLine)
		progress.Close()
	})
	if err != nil && ctx.Err() == nil {
		tell("error: " + strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return err
}

func printHint(config lab.Config) {
	fmt.Printf("the lab is up; for kubectl:\n  export KUBECONFIG=%s PATH=$PATH:%s\n", config.Kubeconfig(), config.AssetsDir)
}

// foreground runs the lab in this process and removes it at the end.
func foreground(ctx context.Context, config lab.Config) (err error) {
	if os.Getuid() != 0 {
		return errors.New("needs root, to make network namespaces")
	}
	began := time.Now()
	lock, err := lab.TryLock(config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	if err := prepare(ctx, &config); err != nil {
		return errors.Join(err, lab.Remove(config))
	}
	tell := func(line string) { fmt.Printf("lab %5.1fs  %s\n", time.Since(began).Seconds(), line) }
	err = lab.Run(ctx, config, tell, func() {
		printHint(config)
		fmt.Println("Ctrl-C takes it down")
	})
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("%w; the logs are in %s", err, config.LogDir())
	}
	// An interrupted start is a wish, not a failure.
	return lab.Remove(config)
}
