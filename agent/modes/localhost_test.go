// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package modes

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/fairlead-proxy/fairlead/agent/dataplane"
	"github.com/fairlead-proxy/fairlead/agent/internal/desiredtest"
	"github.com/fairlead-proxy/fairlead/agent/kernel/sysctl"
	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/rules/model"
)

// TestLocalhostIsShared checks that a mode that goes does not set back the parameter that node ports on
// localhost need while the mode that replaces it has them, and that the last one does.
func TestLocalhostIsShared(t *testing.T) {
	for from, to := range map[v1alpha1.ProxyMode]v1alpha1.ProxyMode{
		v1alpha1.ModeNFTables: v1alpha1.ModeIPTables,
		v1alpha1.ModeIPTables: v1alpha1.ModeNFTables,
	} {
		t.Run(string(from+" to "+to), func(t *testing.T) {
			env := emptyNode(t)
			env.Sysctls = sysctl.Tree{Root: t.TempDir()}
			const name = "net/ipv4/conf/all/route_localnet"
			path := filepath.Join(env.Sysctls.Root, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte("0\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			is := func(when, want string) {
				t.Helper()
				if got, err := env.Sysctls.Get(name); got != want || err != nil {
					t.Errorf("%s: %q, %v; want %s", when, got, err, want)
				}
			}
			modes := map[v1alpha1.ProxyMode]dataplane.Dataplane{}
			for _, m := range All() {
				if m.Name != from && m.Name != to {
					continue
				}
				d, err := m.Open(env)
				if err != nil {
					t.Fatal(err)
				}
				defer d.Close()
				modes[m.Name] = d
			}
			want := model.NewDesired()
			desiredtest.Put(&want, "nodeport:30080/tcp", desiredtest.ClusterIP("10.244.1.2:80"))
			want.Node.NodePortLocalhost = true
			for _, mode := range []v1alpha1.ProxyMode{from, to} {
				if _, err := modes[mode].Sync(t.Context(), want, nil); err != nil {
					t.Fatal(err)
				}
				is("programmed by "+string(mode), "1")
			}
			if err := modes[from].Cleanup(t.Context()); err != nil {
				t.Fatal(err)
			}
			is("the first one is gone", "1")
			if err := modes[to].Cleanup(t.Context()); err != nil {
				t.Fatal(err)
			}
			is("both are gone", "0")
		})
	}
}
