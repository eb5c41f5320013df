// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package migrate says what keeps a cluster with kube-proxy from a take-over that no one notices, and which
// ProxyConfig keeps what kube-proxy does today.
package migrate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
)

// Facts are what a Report follows from.
type Facts struct {
	// ConfigMap has kube-proxy's configuration, as kubeadm writes it, and DaemonSet runs it; nil: there is none.
	ConfigMap *corev1.ConfigMap
	DaemonSet *appsv1.DaemonSet
	Nodes     []corev1.Node
	Services  []corev1.Service
	// Configs and Reported are Fairlead's, if it is installed.
	Configs  []v1alpha1.ProxyConfig
	Reported []v1alpha1.NodeRuleSet

	settings settings
	problem  error // of the settings
	proposed v1alpha1.ProxyConfigSpec
}

// kubeProxy is the DaemonSet and its ConfigMap as kubeadm names them.
const namespace, kubeProxy = "kube-system", "kube-proxy"

// Collect reads the facts.
func Collect(ctx context.Context, api client.Reader) (*Facts, error) {
	out := &Facts{ConfigMap: &corev1.ConfigMap{}, DaemonSet: &appsv1.DaemonSet{}}
	var nodes corev1.NodeList
	var services corev1.ServiceList
	var configs v1alpha1.ProxyConfigList
	var reported v1alpha1.NodeRuleSetList
	for _, list := range []client.ObjectList{&nodes, &services, &configs, &reported} {
		// Without the kinds, Fairlead is not installed yet.
		if err := api.List(ctx, list); err != nil && !meta.IsNoMatchError(err) {
			return nil, fmt.Errorf("list %T: %w", list, err)
		}
	}
	out.Nodes, out.Services, out.Configs, out.Reported = nodes.Items, services.Items, configs.Items, reported.Items
	daemonSet := client.ObjectKey{Namespace: namespace, Name: kubeProxy}
	for i := range out.Configs {
		if o := out.Configs[i].Spec.KubeProxy; o != nil && o.DaemonSet != "" {
			daemonSet.Namespace, daemonSet.Name, _ = strings.Cut(o.DaemonSet, "/")
		}
	}
	switch err := api.Get(ctx, daemonSet, out.DaemonSet); {
	case apierrors.IsNotFound(err):
		out.DaemonSet = nil
	case err != nil:
		return nil, fmt.Errorf("read kube-proxy's DaemonSet: %w", err)
	}
	switch err := api.Get(ctx, client.ObjectKey{Namespace: daemonSet.Namespace, Name: configMapOf(out.DaemonSet)}, out.ConfigMap); {
	case apierrors.IsNotFound(err):
		out.ConfigMap = nil
	case err != nil:
		return nil, fmt.Errorf("read kube-proxy's ConfigMap: %w", err)
	}
	out.derive()
	return out, nil
}

// configMapOf returns the ConfigMap that kube-proxy's Pods mount.
func configMapOf(ds *appsv1.DaemonSet) string {
	if ds != nil {
		for _, v := range ds.Spec.Template.Spec.Volumes {
			if v.ConfigMap != nil && strings.Contains(v.ConfigMap.Name, kubeProxy) {
				return v.ConfigMap.Name
			}
		}
	}
	return kubeProxy
}

// derive reads the configuration.
func (f *Facts) derive() {
	f.settings, f.problem = settings{}, errors.New("there is no ConfigMap of kube-proxy with its configuration")
	if f.ConfigMap != nil {
		for _, key := range []string{"config.conf", "config", "config.yaml"} {
			if text := f.ConfigMap.Data[key]; text != "" {
				f.settings, f.problem = parse(text)
				break
			}
		}
	}
	f.proposed = f.settings.spec()
	if slices.ContainsFunc(f.Services, hasExternalIPs) { // kube-proxy programs all
		f.proposed.ExternalIPs.Policy = v1alpha1.ExternalIPAllow
	}
}

func hasExternalIPs(s corev1.Service) bool { return len(s.Spec.ExternalIPs) > 0 }

// PrintProxyConfig writes the ProxyConfig that keeps what kube-proxy does.
func (f *Facts) PrintProxyConfig(to io.Writer) error {
	if f.problem != nil {
		return f.problem
	}
	// Without what is empty, and the status.
	text, err := json.Marshal(f.proposed)
	if err != nil {
		return fmt.Errorf("encode the policy: %w", err)
	}
	var spec map[string]any
	if err := json.Unmarshal(text, &spec); err != nil {
		return fmt.Errorf("read the policy: %w", err)
	}
	text, err = yaml.Marshal(map[string]any{"apiVersion": v1alpha1.GroupVersion.String(), "kind": "ProxyConfig", "metadata": metav1.ObjectMeta{Name: "default"}, "spec": spec})
	if err == nil {
		_, err = to.Write(text)
	}
	return err
}
