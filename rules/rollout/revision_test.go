// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// config is a ProxyConfig with a spec in YAML.
func config(t *testing.T, name, spec string) *v1alpha1.ProxyConfig {
	t.Helper()
	out := &v1alpha1.ProxyConfig{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if err := yaml.UnmarshalStrict([]byte(spec), &out.Spec); err != nil {
		t.Fatal(err)
	}
	return out
}

// all has all defaults of the API.
const all = `
priority: 0
mode: Auto
sessionAffinity: {policy: FromService, timeoutSeconds: 10800}
nodePort: {addresses: [Primary]}
externalIPs: {policy: Deny}
masquerade: {all: false}
localTraffic: {detect: NodeCIDR}
conntrack: {maxPerCore: 32768, min: 131072, tcpEstablishedTimeoutSeconds: 86400, tcpCloseWaitTimeoutSeconds: 3600}
massRemoval: {maxPercent: 50, minEndpoints: 100, windowSeconds: 10}
deletionPolicy: Keep
revisionHistoryLimit: 10
`

// TestSameRevision checks which specs have a revision of the same name.
func TestSameRevision(t *testing.T) {
	for name, c := range map[string]struct {
		a, b string
		same bool
	}{
		"the same":                    {"{mode: NFTables}", "{mode: NFTables}", true},
		"the order of fields":         {"{mode: IPVS, ipvs: {scheduler: sh, strictARP: true}}", "{ipvs: {strictARP: true, scheduler: sh}, mode: IPVS}", true},
		"all defaults":                {"{}", all, true},
		"a default":                   {"{mode: Auto}", "{}", true},
		"the default parameters":      {"{mode: IPVS}", "{mode: IPVS, ipvs: {}}", true},
		"default parameters, written": {"{mode: IPVS}", "{mode: IPVS, ipvs: {scheduler: rr, strictARP: false, drainTimeoutSeconds: 900, readBackSeconds: 10}}", true},
		"nodes":                       {"{}", "{nodeSelector: {matchLabels: {a: b}}, priority: 7}", true},
		"limits of agents":            {"{}", "{massRemoval: {maxPercent: 10}, deletionPolicy: Cleanup, revisionHistoryLimit: 3}", true},
		"a mode":                      {"{}", "{mode: NFTables}", false},
		"a fallback":                  {"{mode: IPVS}", "{mode: IPVS, fallbackModes: [NFTables]}", false},
		"the order of fallbacks":      {"{mode: IPVS, fallbackModes: [IPTables, NFTables]}", "{mode: IPVS, fallbackModes: [NFTables, IPTables]}", false},
		"a parameter":                 {"{mode: IPVS}", "{mode: IPVS, ipvs: {scheduler: sh}}", false},
		"0 is not the default":        {"{}", "{conntrack: {maxPerCore: 0}}", false},
		"affinity":                    {"{}", "{sessionAffinity: {policy: ClientIP}}", false},
		"node ports":                  {"{}", "{nodePort: {addresses: [Primary, 127.0.0.1]}}", false},
		"external IPs":                {"{}", "{externalIPs: {policy: Allow}}", false},
		"masquerading":                {"{}", "{masquerade: {all: true}}", false},
		"local traffic":               {"{}", "{localTraffic: {detect: BridgeInterface, interface: br0}}", false},
		"taking over from kube-proxy": {"{}", "{kubeProxy: {takeOver: true}}", false},
		"giving back is not leaving":  {"{}", "{kubeProxy: {takeOver: false}}", false},
		"giving back":                 {"{kubeProxy: {takeOver: true}}", "{kubeProxy: {takeOver: false}}", false},
		"the DaemonSet of kube-proxy": {"{kubeProxy: {takeOver: true}}", "{kubeProxy: {takeOver: true, daemonSet: kube-system/kube-proxy-arm}}", true},
		"an address, moved":           {"{nodePort: {sourceRanges: [192.0.2.0/24]}}", "{externalIPs: {allowedCIDRs: [192.0.2.0/24]}}", false},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := RevisionOf(config(t, "default", c.a)), RevisionOf(config(t, "default", c.b))
			if (a.Name == b.Name) != c.same {
				t.Errorf("%s and %s", a.Name, b.Name)
			}
		})
	}
}

// TestRevisionOf checks name and data. They must not change with the version: nodes and stored
// revisions have them.
func TestRevisionOf(t *testing.T) {
	spec := "{mode: IPVS, priority: 7, ipvs: {strictARP: true}, massRemoval: {maxPercent: 10}}"
	want := Revision{Name: "default-402e52cbcb475792", Data: []byte(`{"apiVersion":"proxy.fairlead.dev/v1alpha1","kind":"ProxyConfig","spec":{"ipvs":{"strictARP":true},"mode":"IPVS"}}`)}
	if diff := cmp.Diff(want, RevisionOf(config(t, "default", spec))); diff != "" {
		t.Errorf("revision (-want +got):\n%s", diff)
	}
	if got := RevisionOf(config(t, "default", all)); got.Name != "default-e952e9ec20f000fc" || !strings.Contains(string(got.Data), `"timeoutSeconds":10800`) {
		t.Errorf("the defaults are left out of the data: %s %s", got.Name, got.Data)
	}
}

func TestNames(t *testing.T) {
	long := strings.Repeat("a", 250)
	seen := map[string]string{}
	for _, name := range []string{"default", "default-a", "a.b", long, long + ".b", long + ".c", strings.Repeat("a", 235) + ".b.c.d.e.f.g"} {
		got := RevisionOf(config(t, name, "{}")).Name
		if errs := validation.IsDNS1123Subdomain(got); errs != nil {
			t.Errorf("%s: %q is no name: %v", name, got, errs)
		}
		if other, ok := seen[got]; ok {
			t.Errorf("%s and %s have the same revision", name, other)
		}
		seen[got] = name
	}
}

// TestDefaultsAreTheAPIs checks that the defaults here are those of the custom resource definition.
func TestDefaultsAreTheAPIs(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "config", "crd", "bases", "proxy.fairlead.dev_proxyconfigs.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	type schema struct {
		Default    any
		Properties map[string]schema
	}
	var crd struct {
		Spec struct {
			Versions []struct {
				Schema struct{ OpenAPIV3Schema schema }
			}
		}
	}
	if err := yaml.Unmarshal(text, &crd); err != nil {
		t.Fatal(err)
	}
	var defaultsOf func(s schema) any
	defaultsOf = func(s schema) any {
		if s.Properties == nil {
			return s.Default
		}
		out := map[string]any{}
		for name, p := range s.Properties {
			if d := defaultsOf(p); d != nil {
				out[name] = d
			}
		}
		if len(out) == 0 {
			return nil
		}
		return out
	}
	spec := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
	want, _ := defaultsOf(spec).(map[string]any)
	notRolledOut := []string{"nodeSelector", "priority", "massRemoval", "deletionPolicy", "rollout", "revisionHistoryLimit"}
	for _, name := range notRolledOut {
		if _, ok := spec.Properties[name]; !ok {
			t.Errorf("there is no field %s", name)
		}
		delete(want, name)
	}
	delete(want, "kubeProxy") // only its DaemonSet has a default, and that is not rolled out
	if diff := cmp.Diff(want, defaults); diff != "" {
		t.Errorf("defaults (-API +here):\n%s", diff)
	}

	// Every other field is rolled out.
	full := v1alpha1.ProxyConfigSpec{}
	v := reflect.ValueOf(&full).Elem()
	for i := range v.NumField() {
		setAny(v.Field(i))
	}
	var wantFields []string
	for name := range spec.Properties {
		if !slices.Contains(notRolledOut, name) {
			wantFields = append(wantFields, name)
		}
	}
	slices.Sort(wantFields)
	if diff := cmp.Diff(wantFields, slices.Sorted(maps.Keys(jsonOf(policyOf(full))))); diff != "" {
		t.Errorf("fields of a revision (-want +got):\n%s", diff)
	}
}

// setAny sets a value to something that JSON does not omit.
func setAny(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		setAny(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			setAny(v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		setAny(v.Index(0))
	case reflect.Map:
	case reflect.String:
		v.SetString("x")
	case reflect.Int32:
		v.SetInt(1)
	case reflect.Bool:
		v.SetBool(true)
	}
}
