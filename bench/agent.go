// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

const metricsAddress = "127.0.0.1:10249"

// quiet is the pause between two changes, so that the agent is idle before each.
const quiet = 20 * time.Millisecond

// settling is the time from the agent's start until its memory is read: by then Go
// has returned what only the start needed.
const settling = 5 * time.Second

// agentResult are the measurements of the agent binary.
type agentResult struct {
	Start, Restart agentStart
	Changes        distribution  // from the event to the kernel's commit
	CPU            time.Duration // of all changes
}

// agentStart is a start of the agent, until it reports that everything is programmed.
type agentStart struct {
	Took, CPU       time.Duration
	Operations      int
	RSS, Peak, Heap int // MiB, when settled; the heap includes garbage
}

func measureAgent(ctx context.Context, c cluster, program string, changes int) (r agentResult, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	api, err := startAPIServer(ctx, c)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, api.close()) }()
	dir, err := os.MkdirTemp("", "fairlead-bench-")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	first, err := start(ctx, program, dir, api)
	if err != nil {
		return r, err
	}
	defer first.kill()
	if r.Start, err = first.started(ctx, c); err != nil {
		return r, fmt.Errorf("start: %w", err)
	}
	if r.Changes, r.CPU, err = first.follow(ctx, c, changes, quiet); err != nil {
		return r, fmt.Errorf("changes: %w", err)
	}
	first.kill()
	second, err := start(ctx, program, dir, api)
	if err != nil {
		return r, err
	}
	defer second.kill()
	if r.Restart, err = second.started(ctx, c); err != nil {
		return r, fmt.Errorf("restart: %w", err)
	}
	if n := r.Restart.Operations; n != 0 {
		return r, fmt.Errorf("restart: the agent made %d changes to rules that were correct", n)
	}
	return r, nil
}

// process is a running agent.
type process struct {
	cmd   *exec.Cmd
	api   *apiserver
	begun time.Time
}

func start(ctx context.Context, program, dir string, api *apiserver) (*process, error) {
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := writeKubeconfig(kubeconfig, api.url()); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program, "--node-name", nodeName, "--kubeconfig", kubeconfig,
		"--state-dir", filepath.Join(dir, "state"), "--healthz-bind-address", "",
		"--metrics-bind-address", metricsAddress, "--zap-log-level", "error")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	api.forgetStatuses()
	return &process{cmd, api, time.Now()}, cmd.Start()
}

func writeKubeconfig(file, url string) error {
	return os.WriteFile(file, fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters: [{name: bench, cluster: {server: %q}}]
contexts: [{name: bench, context: {cluster: bench}}]
current-context: bench
`, url), 0o600)
}

// kill sends SIGKILL: the agent has no time to clean up.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	_ = p.cmd.Wait()         // reports the signal
}

// started waits for the agent's report.
func (p *process) started(ctx context.Context, c cluster) (s agentStart, err error) {
	for {
		select {
		case status := <-p.api.statuses:
			if !meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionProgrammed) ||
				status.Programmed == nil || int(status.Programmed.Services) != c.services {
				continue
			}
		case <-ctx.Done():
			return s, ctx.Err()
		}
		break
	}
	s.Took = time.Since(p.begun)
	if s.CPU, err = p.cpu(); err != nil {
		return s, err
	}
	select {
	case <-time.After(settling):
	case <-ctx.Done():
		return s, ctx.Err()
	}
	values, err := metrics(ctx)
	if err != nil {
		return s, err
	}
	s.Operations = int(values["fairlead_agent_kernel_operations_total"])
	s.Heap = mebibytes(int(values["go_memstats_heap_alloc_bytes"]))
	s.RSS, s.Peak, err = p.memory()
	return s, err
}

// follow changes one endpoint after the other and waits for each to be in the
// kernel, and then a pause.
func (p *process) follow(ctx context.Context, c cluster, changes int, pause time.Duration) (distribution, time.Duration, error) {
	notifications, err := nl.Subscribe(unix.NETLINK_NETFILTER, unix.NFNLGRP_NFTABLES)
	if err != nil {
		return distribution{}, 0, err
	}
	defer notifications.Close()
	if err := notifications.SetReceiveTimeout(&unix.Timeval{Sec: 10}); err != nil {
		return distribution{}, 0, err
	}
	before, err := p.cpu()
	if err != nil {
		return distribution{}, 0, err
	}
	var all []time.Duration
	next := c.changes()
	for range changes {
		slice, err := next()
		if err != nil {
			return distribution{}, 0, err
		}
		begun := time.Now()
		if err := p.api.change(ctx, slice); err != nil {
			return distribution{}, 0, err
		}
		if err := awaitCommit(notifications); err != nil {
			return distribution{}, 0, err
		}
		all = append(all, time.Since(begun))
		time.Sleep(pause)
	}
	after, err := p.cpu()
	return distributionOf(all), after - before, err
}

// awaitCommit waits for the next commit to nftables.
func awaitCommit(notifications *nl.NetlinkSocket) error {
	for {
		messages, _, err := notifications.Receive()
		if err != nil {
			return fmt.Errorf("wait for a commit: %w", err)
		}
		for _, m := range messages {
			if m.Header.Type == unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWGEN {
				return nil
			}
		}
	}
}

// cpu is the CPU time that the agent has used.
func (p *process) cpu() (time.Duration, error) {
	// The process's clock is precise to the nanosecond, /proc to 10 ms.
	var t unix.Timespec
	clock := int32(^p.cmd.Process.Pid<<3 | 2) // CPUCLOCK_SCHED of a process
	err := unix.ClockGettime(clock, &t)
	return time.Duration(t.Nano()), err
}

// memory returns the agent's resident memory now and at its peak, in MiB.
func (p *process) memory() (rss, peak int, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[2] != "kB" {
			continue
		}
		kib, err := strconv.Atoi(fields[1])
		if err != nil {
			return 0, 0, err
		}
		switch fields[0] {
		case "VmRSS:":
			rss = mebibytes(kib << 10)
		case "VmHWM:":
			peak = mebibytes(kib << 10)
		}
	}
	return rss, peak, nil
}

func mebibytes(n int) int { return (n + 1<<19) >> 20 }

// metrics reads the agent's metrics, by their names with labels.
func metrics(ctx context.Context) (map[string]float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+metricsAddress+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	out, lines := map[string]float64{}, bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if name, text, ok := strings.Cut(lines.Text(), " "); ok && name != "#" {
			if value, err := strconv.ParseFloat(text, 64); err == nil {
				out[name] = value
			}
		}
	}
	return out, lines.Err()
}
