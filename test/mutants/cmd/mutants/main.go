// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Command mutants plants the bugs of test/mutants, one at a time, and says which the tests
// have found. It fails unless they have found all.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"github.com/fairlead-proxy/fairlead/test/mutants"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	root := flag.String("root", "..", "the root of the repository")
	names := flag.String("run", "", "the mutants to run: a regular expression of AREA/NAME")
	flag.Parse()
	match, err := regexp.Compile(*names)
	if err != nil {
		return err
	}
	dir, err := filepath.Abs(*root)
	if err != nil {
		return err
	}
	all, err := mutants.Load(filepath.Join(dir, "test", "mutants"), match)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return fmt.Errorf("no mutant matches %q", *names)
	}
	runner := mutants.Runner{Root: dir}
	counts, start := map[string]int{}, time.Now()
	for _, m := range all {
		result := runner.Run(ctx, m)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		verdict := result.Verdict()
		counts[verdict]++
		fmt.Printf("%-6s %5.1f s  %-44s %s", verdict, result.Duration.Seconds(), m.Name, m.Suite.Package)
		switch {
		case result.Err != nil:
			fmt.Printf("\n  %v", result.Err)
		case verdict == "missed":
			fmt.Printf(" -run %q\n  %s", m.Suite.Run, m.Bug)
		default:
			fmt.Printf(" %s", result.FoundBy)
		}
		fmt.Println()
	}
	fmt.Printf("%d mutants in %s: %d found, %d missed, %d in error\n",
		len(all), time.Since(start).Round(time.Second), counts["found"], counts["missed"], counts["error"])
	if counts["found"] < len(all) {
		return fmt.Errorf("not all bugs were found")
	}
	return nil
}
