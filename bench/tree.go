// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// tree watches a process and its child processes.
type tree struct {
	pid  int
	stop chan struct{}
	peak chan int
}

// watchTree samples the memory of all of them.
func watchTree(pid int) *tree {
	t := &tree{pid: pid, stop: make(chan struct{}), peak: make(chan int)}
	go func() {
		most := 0
		for {
			select {
			case <-t.stop:
				t.peak <- mebibytes(most)
				return
			case <-time.After(20 * time.Millisecond):
				most = max(most, t.memory())
			}
		}
	}()
	return t
}

// end returns the maximum of their memory sum, in MiB.
func (t *tree) end() int {
	close(t.stop)
	return <-t.peak
}

// memory is the resident memory of all. A process that has just ended has none.
func (t *tree) memory() int {
	sum := resident(t.pid)
	for _, child := range t.children() {
		sum += resident(child)
	}
	return sum
}

// children are the running child processes.
func (t *tree) children() (pids []int) {
	threads, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", t.pid))
	for _, thread := range threads {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", t.pid, thread.Name()))
		for child := range strings.FieldsSeq(string(text)) {
			if pid, err := strconv.Atoi(child); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

func resident(pid int) int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.Atoi(fields[1])
	return pages * os.Getpagesize()
}

// cpu is the CPU time of the process and of the programs that it has started.
func (t *tree) cpu() (time.Duration, error) {
	sum, err := processorTime(t.pid)
	for _, child := range t.children() {
		running, _ := processorTime(child) // if it has ended, the parent's next sum includes it
		sum += running
	}
	return sum, err
}

// processorTime is the CPU time of a process and of its children that have ended.
func processorTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), ") ") // after the name
	fields := strings.Fields(rest)
	const first, last, tick = 11, 14, 10 * time.Millisecond // utime, stime, cutime, cstime
	if len(fields) <= last {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	var sum time.Duration
	for _, f := range fields[first : last+1] {
		n, err := strconv.Atoi(f)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(n) * tick
	}
	return sum, nil
}
