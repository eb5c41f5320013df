// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-proxy/fairlead/kubectl/check"
	"github.com/fairlead-proxy/fairlead/test/lab/labtest"
)

// fault is one of the cluster: what makes it, the check that fails then, what that finds (a regular expression), a part of
// the fix that it names, and what this fix does.
type fault struct {
	check, found, fix string
	make, mend        func() error
}

// faults are there together: they are made and mended in the order of the list. The flags are those of `check`.
type faults struct {
	flags []string
	list  []fault
}

// kubectlDoes runs kubectl.
func kubectlDoes(args ...string) func() error {
	return func() error { return labtest.Command("kubectl", args...) }
}

// patched changes the ProxyConfig.
func patched(patch string) func() error {
	return kubectlDoes("patch", "proxyconfig/default", "--type=merge", "--patch", patch)
}

// steered runs a command of `kubectl fairlead rollout` on the ProxyConfig.
func steered(command string, args ...string) func() error {
	try := func() error {
		code, out, errOut := fairlead(context.Background(), append([]string{"rollout", command, "default"}, args...)...)
		if code != 0 {
			return fmt.Errorf("rollout %s exits with %d: %s%s", command, code, out, errOut)
		}
		return nil
	}
	// Until the controller has seen the change before, it says so.
	return func() error { return labtest.Eventually(context.Background(), time.Minute, try) }
}

// together does one after the other.
func together(all ...func() error) func() error {
	return func() error {
		for _, do := range all {
			if err := do(); err != nil {
				return err
			}
		}
		return nil
	}
}

// TestCheckFaults makes faults, checks that `check` names each with its fix, and that each is gone after that. The agents
// need up to a minute for some, and so all that can be there together are.
func TestCheckFaults(t *testing.T) {
	if !*rolloutsToo {
		t.Skip("it takes minutes: run it with -rollouts")
	}
	t.Cleanup(func() {
		changePolicy(context.Background(), t, `"conntrack": {"maxPerCore": 32768, "min": 131072, "udpTimeoutSeconds": null}, "sessionAffinity": {"timeoutSeconds": 10800}`)
		resetPolicy(t)
	})
	made := 0
	for _, group := range []struct {
		name string
		of   func(*testing.T) []faults
	}{
		{"rights", faultsOfRights},
		{"policy and kernels", faultsOfKernels},
		{"agents", faultsOfAgents},
		{"agents' rights and image", faultsOfInstallation},
		{"Userspace", faultsOfUserspace},
		{"rollouts", faultsOfRollouts},
		{"IPVS", faultsOfIPVS},
		{"kube-proxy", faultsOfKubeProxy},
		{"CRD", faultsOfCRD},
	} {
		passed := t.Run(group.name, func(t *testing.T) {
			changePolicy(t.Context(), t, `"mode": "NFTables", `+atOnce)
			for _, f := range group.of(t) {
				inject(t, f)
				made += len(f.list)
			}
			eventually(t, 4*time.Minute, nothingFound)
		})
		if !passed {
			return // what is left of it would be found by the next ones
		}
	}
	t.Logf("%d faults", made)
	if made < 20 {
		t.Errorf("only %d faults", made)
	}
}

// inject makes faults, waits until checks name all of them, mends them, and waits until these checks pass.
func inject(t *testing.T, f faults) {
	t.Helper()
	for _, fault := range f.list {
		if err := fault.make(); err != nil {
			t.Fatalf("%s: %v", fault.found, err)
		}
	}
	hidden := slices.Clone(f.list) // some are there for a while only
	eventually(t, 4*time.Minute, func() error {
		results, err := checks(f.flags...)
		if err != nil {
			return err
		}
		hidden = slices.DeleteFunc(hidden, func(fault fault) bool {
			r := results[fault.check]
			found := !r.Pass && regexp.MustCompile(fault.found).MatchString(strings.Join(r.Found, "\n"))
			if found && !strings.Contains(r.Fix, fault.fix) {
				t.Errorf("the fix of %+v does not say %q", r, fault.fix)
			}
			return found
		})
		if len(hidden) > 0 {
			return fmt.Errorf("%q is not found by %q: %+v", hidden[0].found, hidden[0].check, failing(results))
		}
		return nil
	})
	for _, fault := range f.list {
		if err := fault.mend(); err != nil {
			t.Fatalf("%s: %v", fault.found, err)
		}
	}
	eventually(t, 4*time.Minute, func() error {
		results, err := checks(f.flags...)
		if err != nil {
			return err
		}
		for _, fault := range f.list {
			if r := results[fault.check]; !r.Pass {
				return fmt.Errorf("%+v", r)
			}
		}
		return nil
	})
}

// failing returns the checks that do not pass.
func failing(results map[string]check.Result) (out []check.Result) {
	for _, r := range results {
		if !r.Pass {
			out = append(out, r)
		}
	}
	return out
}

// checks returns what `check` says, by the names of checks.
func checks(flags ...string) (map[string]check.Result, error) {
	_, out, errOut := fairlead(context.Background(), append([]string{"check", "-o", "json"}, flags...)...)
	var report check.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		return nil, fmt.Errorf("check: %w: %s%s", err, out, errOut)
	}
	results := map[string]check.Result{}
	for _, category := range report.Categories {
		for _, c := range category.Checks {
			results[c.Name] = c
		}
	}
	return results, nil
}
