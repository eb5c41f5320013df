// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/ptr"

	"github.com/fairlead-proxy/fairlead/agent/internal/conntracktest"
	"github.com/fairlead-proxy/fairlead/agent/kernel/sysctl"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

const prefix = "net/netfilter/nf_conntrack_"

// kernelValues are the values in a tree before each test.
var kernelValues = map[string]string{
	"max": "200000", "buckets": "50000", "tcp_timeout_established": "432000", "tcp_timeout_close_wait": "60",
	"tcp_be_liberal": "0", "udp_timeout": "30", "udp_timeout_stream": "120",
}

func fakeTree(t *testing.T, leaveOut ...string) sysctl.Tree {
	t.Helper()
	tree := sysctl.Tree{Root: t.TempDir()}
	if err := os.MkdirAll(filepath.Join(tree.Root, filepath.Dir(prefix)), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, value := range kernelValues {
		if len(leaveOut) > 0 && leaveOut[0] == name {
			continue
		}
		if err := os.WriteFile(filepath.Join(tree.Root, prefix+name), []byte(value+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return tree
}

// changed returns the values that differ from kernelValues.
func changed(t *testing.T, tree sysctl.Tree) map[string]string {
	t.Helper()
	out := map[string]string{}
	for name, before := range kernelValues {
		if now, err := tree.Get(prefix + name); err == nil && now != before {
			out[name] = now
		}
	}
	return out
}

func TestTune(t *testing.T) {
	n := ptr.To[int32]
	cases := map[string]struct {
		options *v1alpha1.ConntrackOptions
		cpus    int
		want    map[string]string
	}{
		"no options":                        {nil, 4, nil},
		"empty options":                     {&v1alpha1.ConntrackOptions{}, 4, nil},
		"raised, with the hash table":       {&v1alpha1.ConntrackOptions{MaxPerCore: n(100000)}, 4, map[string]string{"max": "400000", "buckets": "100000"}},
		"never lowered":                     {&v1alpha1.ConntrackOptions{MaxPerCore: n(10)}, 4, nil},
		"the hash table alone is too small": {&v1alpha1.ConntrackOptions{MaxPerCore: n(50001)}, 4, map[string]string{"max": "200004", "buckets": "50001"}},
		"at least min":                      {&v1alpha1.ConntrackOptions{MaxPerCore: n(1), Min: n(300000)}, 4, map[string]string{"max": "300000", "buckets": "75000"}},
		"min alone":                         {&v1alpha1.ConntrackOptions{Min: n(300000)}, 4, map[string]string{"max": "300000", "buckets": "75000"}},
		"0 says nothing":                    {&v1alpha1.ConntrackOptions{MaxPerCore: n(0), Min: n(300000), UDPTimeoutSeconds: n(0), TCPEstablishedTimeoutSeconds: n(0)}, 4, nil},
		"very many cores":                   {&v1alpha1.ConntrackOptions{MaxPerCore: n(32768)}, 1024, map[string]string{"max": "1048576", "buckets": "262144"}},
		"very many cores, min is more":      {&v1alpha1.ConntrackOptions{MaxPerCore: n(32768), Min: n(2000000)}, 1024, map[string]string{"max": "2000000", "buckets": "500000"}},
		"timeouts": {&v1alpha1.ConntrackOptions{TCPEstablishedTimeoutSeconds: n(86400), TCPCloseWaitTimeoutSeconds: n(3600), UDPTimeoutSeconds: n(10), UDPStreamTimeoutSeconds: n(60)}, 1,
			map[string]string{"tcp_timeout_established": "86400", "tcp_timeout_close_wait": "3600", "udp_timeout": "10", "udp_timeout_stream": "60"}},
		"liberal":          {&v1alpha1.ConntrackOptions{TCPBeLiberal: ptr.To(true)}, 1, map[string]string{"tcp_be_liberal": "1"}},
		"liberal no more":  {&v1alpha1.ConntrackOptions{TCPBeLiberal: ptr.To(false)}, 1, nil},
		"as it is already": {&v1alpha1.ConntrackOptions{MaxPerCore: n(50000), UDPTimeoutSeconds: n(30)}, 4, nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			tree := fakeTree(t)
			if err := Tune(tree, tree, tc.options, tc.cpus); err != nil {
				t.Fatal(err)
			}
			if tc.want == nil {
				tc.want = map[string]string{}
			}
			if diff := cmp.Diff(tc.want, changed(t, tree)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTuneGoesOnAfterAnError(t *testing.T) {
	tree := fakeTree(t, "max")
	err := Tune(tree, tree, &v1alpha1.ConntrackOptions{MaxPerCore: ptr.To[int32](100000), UDPTimeoutSeconds: ptr.To[int32](10)}, 4)
	if err == nil || !strings.Contains(err.Error(), "nf_conntrack_max") {
		t.Errorf("error: %v", err)
	}
	if diff := cmp.Diff(map[string]string{"udp_timeout": "10"}, changed(t, tree)); diff != "" {
		t.Error(diff)
	}
}

// What cannot be read or is no number is an error, and nothing is written in its place.
func TestTuneErrors(t *testing.T) {
	n := ptr.To[int32]
	for name, tc := range map[string]struct {
		damaged string // a parameter
		options v1alpha1.ConntrackOptions
	}{
		"the limit":      {"max", v1alpha1.ConntrackOptions{MaxPerCore: n(100000)}},
		"the hash table": {"buckets", v1alpha1.ConntrackOptions{MaxPerCore: n(100000)}},
		"a timeout":      {"udp_timeout", v1alpha1.ConntrackOptions{UDPTimeoutSeconds: n(10)}},
		"liberal":        {"tcp_be_liberal", v1alpha1.ConntrackOptions{TCPBeLiberal: ptr.To(true)}},
	} {
		t.Run(name, func(t *testing.T) {
			missing, odd := fakeTree(t, tc.damaged), fakeTree(t)
			if err := odd.Set(prefix+tc.damaged, "many"); err != nil {
				t.Fatal(err)
			}
			for what, tree := range map[string]sysctl.Tree{"missing": missing, "no number": odd} {
				if err := Tune(tree, tree, &tc.options, 4); err == nil || !strings.Contains(err.Error(), tc.damaged) {
					t.Errorf("%s: error %v", what, err)
				}
			}
			if got, err := odd.Get(prefix + tc.damaged); err != nil || got != "many" {
				t.Errorf("it is %s, %v", got, err)
			}
		})
	}
}

// TestTuneBack sets parameters back that an administrator, or an earlier policy, has set.
func TestTuneBack(t *testing.T) {
	tree := fakeTree(t)
	for name, value := range map[string]string{"tcp_be_liberal": "1", "udp_timeout": "300"} {
		if err := tree.Set(prefix+name, value); err != nil {
			t.Fatal(err)
		}
	}
	if err := Tune(tree, tree, &v1alpha1.ConntrackOptions{TCPBeLiberal: ptr.To(false), UDPTimeoutSeconds: ptr.To[int32](30)}, 4); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{}, changed(t, tree)); diff != "" {
		t.Error(diff)
	}
}

// In a network namespace the timeouts are its own, and the limit cannot be set.
func TestTuneTheKernel(t *testing.T) {
	s := conntracktest.NewSpace(t)
	o := &v1alpha1.ConntrackOptions{UDPTimeoutSeconds: ptr.To[int32](17), TCPBeLiberal: ptr.To(true), MaxPerCore: ptr.To[int32](1)}
	s.Do(func() error {
		tree := sysctl.Tree{}
		if err := Tune(tree, tree, o, 1); err != nil {
			return err
		}
		if got, err := tree.Get(prefix + "udp_timeout"); err != nil || got != "17" {
			t.Errorf("udp_timeout is %s, %v", got, err)
		}
		if got, err := tree.Get(prefix + "tcp_be_liberal"); err != nil || got != "1" {
			t.Errorf("tcp_be_liberal is %s, %v", got, err)
		}
		o.Min = ptr.To[int32](1 << 24)
		o.UDPStreamTimeoutSeconds = ptr.To[int32](18)
		err := Tune(tree, tree, o, 1)
		var denied *fs.PathError
		if !errors.As(err, &denied) || !strings.HasSuffix(denied.Path, "nf_conntrack_max") || !strings.Contains(err.Error(), "maxPerCore to 0") {
			t.Errorf("raising the limit: %v", err)
		}
		if got, err := tree.Get(prefix + "udp_timeout_stream"); err != nil || got != "18" {
			t.Errorf("udp_timeout_stream is %s, %v", got, err)
		}
		return nil
	})
}
