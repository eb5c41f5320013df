// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const introduction = `# Benchmarks

The cost of Fairlead on one node by cluster size, measured by ` + "`make bench`" + ` on %s.
%s
Every Service has %d endpoints, spread over nodes of %d Pods each. *Plain* Services have a cluster IP. *Full* Services also
have a node port and a load balancer IP with three source ranges, and every %s has ClientIP affinity.

For the modes compared with kube-proxy see [benchmarks-ipvs.md](benchmarks-ipvs.md) and
[benchmarks-iptables.md](benchmarks-iptables.md).
`

const kernelText = `
## The kernel

The agent's packages, called directly. From empty: Resolve and Table, then Sync; "kernel" is its system time. A change
replaces one endpoint of one Service, %d times across the cluster: Resolve, Table, Flush, Apply. Its operations (elements
added or deleted) depend on the Service alone: 2 for each frontend, 6 with affinity, 1 more where an endpoint on this node
comes or goes. Chains, sets and maps are counted for both families.

Adoption is the Sync after a restart: it reads everything, finds it correct and changes nothing. Its time grows with the
square of a map's size, because the kernel walks a map from its start for each 32 KiB of a dump. Forwarding continues,
but changes wait.

| Services | shape | Resolve, Table | Sync from empty | of that kernel | operations | one change p50 | p99 | operations | chains | sets | maps | adoption |
|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|
`

const agentText = `
## The agent

The agent binary with an apiserver that streams the compiled rules as JSON. "Start" is from the start of the process to the
status "Programmed"; "restart" is the same after a kill -9: the agent starts from its checkpoint and adopts the rules without
an operation. RSS is read %s after the start; "peak" is its maximum, "heap" the Go heap with garbage. A change is timed from
the watch event to the kernel's commit, one at a time.

| Services | shape | start | CPU | RSS MiB | peak | heap | one change p50 | p99 | CPU of %d changes | restart | CPU | RSS MiB | peak |
|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|
`

const flowsText = `
## Conntrack

The agent deletes conntrack entries that lead to endpoints that are gone. The kernel walks through its whole table for each
pass, whatever the pass selects. A pass serves all changes so far: the first change after a quiet time gets one at once,
those that follow share one a second (UDP) or one in 5 s (TCP). Processor time of one pass, of the kernel and the agent:

| entries | a pass that selects none (TCP) | one that selects all (at worst, for UDP) |
|--:|--:|--:|
`

const pureText = `
## The pure functions

| what | time | memory allocated | allocations |
|---|--:|--:|--:|
`

// writePage writes the results as Markdown.
func writePage(w io.Writer, results []result, pure []pureResult, flows flowsResult, giants string, changes int) error {
	var page strings.Builder
	fmt.Fprintf(&page, introduction, time.Now().UTC().Format(time.DateOnly), machine(), endpointsEach, podsEach, ordinal(affinityEach))
	fmt.Fprintf(&page, kernelText, changes)
	for _, r := range results {
		k := r.Kernel
		row(&page, r.Services, r.Shape, k.Resolve, k.Sync.Total, k.Sync.Kernel, k.Filled, k.Changes.P50, k.Changes.P99,
			k.Operations, k.Chains, k.Sets, k.Maps, k.Adopt.Total)
	}
	fmt.Fprintf(&page, agentText, settling, changes)
	for _, r := range results {
		a := r.Agent
		row(&page, r.Services, r.Shape, a.Start.Took, a.Start.CPU, a.Start.RSS, a.Start.Peak, a.Start.Heap, a.Changes.P50, a.Changes.P99,
			a.CPU, a.Restart.Took, a.Restart.CPU, a.Restart.RSS, a.Restart.Peak)
	}
	page.WriteString(giants)
	writeFlows(&page, flows)
	page.WriteString(pureText)
	for _, p := range pure {
		row(&page, p.What, time.Duration(p.NsPerOp()), fmt.Sprintf("%.1f KiB", float64(p.AllocedBytesPerOp())/1024), p.AllocsPerOp())
	}
	_, err := io.WriteString(w, page.String())
	return err
}

func writeFlows(page *strings.Builder, r flowsResult) {
	page.WriteString(flowsText)
	for _, p := range r.Passes {
		row(page, p.Entries, p.None, p.All)
	}
	for _, p := range r.Passes {
		if p.Error != "" {
			fmt.Fprintf(page, "\nThere are no more than %d entries: %s.\n", p.Entries, p.Error)
		}
	}
	fmt.Fprintf(page, "\n%d endpoints of TCP that are replaced within %s, among %d Services and under %d connections a second (%d opened, %d\n"+
		"failed), cost the agent %s of processor time.\n", flowChanges, short(r.Took), flowServices, flowRate, r.Opened, r.Failed, short(r.CPU))
}

// row writes a row of a table.
func row(w *strings.Builder, cells ...any) {
	for _, c := range cells {
		switch c := c.(type) {
		case time.Duration:
			fmt.Fprintf(w, "| %s ", short(c))
		case []int:
			fmt.Fprintf(w, "| %s ", strings.Trim(strings.ReplaceAll(fmt.Sprint(c), " ", ", "), "[]"))
		default:
			fmt.Fprintf(w, "| %v ", c)
		}
	}
	w.WriteString("|\n")
}

// short is a duration with three digits.
func short(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d >= time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d >= 100*time.Millisecond:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d >= time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
	}
	return fmt.Sprintf("%.3g µs", float64(d.Nanoseconds())/1000)
}

func ordinal(n int) string { return fmt.Sprintf("%dth", n) }

// machine describes the machine of the measurements.
func machine() string {
	kernel := "unknown"
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		kernel = unix.ByteSliceToString(u.Release[:])
	}
	nft := "no nft program"
	if out, err := exec.Command("nft", "--version").Output(); err == nil {
		nft = strings.TrimSpace(string(out))
	}
	return fmt.Sprintf("Machine: %d cores, Linux %s, %s (for inspection only; the agent uses netlink), %s.\n",
		runtime.NumCPU(), kernel, nft, runtime.Version())
}
