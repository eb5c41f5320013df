// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/fairlead-proxy/fairlead/api/v1alpha1"
	"github.com/fairlead-proxy/fairlead/kubectl/internal/kubectltest"
)

const (
	// secret is planted wherever a value could be one.
	secret = "planted-secret-value"
	// token is one as the apiserver makes it, without its signature.
	token = "eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2lnbmF0dXJl"
)

// planted are objects with secrets in the fields that may have them.
func planted() []client.Object {
	meta := func(namespace, name, component string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: namespace, Name: name,
			Labels:      map[string]string{"app.kubernetes.io/name": "fairlead", "app.kubernetes.io/component": component},
			Annotations: map[string]string{corev1.LastAppliedConfigAnnotation: `{"env": "` + secret + `"}`, "example.com/password": secret, "proxy.fairlead.dev/note": "kept"},
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: secret, Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "v1", FieldsType: "FieldsV1",
				FieldsV1: metav1.NewFieldsV1(`{"f:x":{}}`)}},
		}
	}
	spec := corev1.PodSpec{
		NodeName: "node-1",
		Volumes:  []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "d", VolumeAttributes: map[string]string{"key": secret}}}}},
		Containers: []corev1.Container{
			{Name: "agent", Args: []string{"--node-name=node-1"}, Env: []corev1.EnvVar{{Name: "NODE_NAME", Value: secret}}},
			{Name: "sidecar", Command: []string{"x", secret}, Args: []string{secret}, Env: []corev1.EnvVar{{Name: "PASSWORD", Value: secret}},
				LivenessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{HTTPHeaders: []corev1.HTTPHeader{{Name: "Authorization", Value: secret}}}}}},
		},
	}
	pod := func(name, component string, restarts int32) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: meta("fairlead-system", name, component), Spec: spec,
			Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: "True"}}, ContainerStatuses: []corev1.ContainerStatus{{Name: component, RestartCount: restarts}}}}
	}
	template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"a": secret}}, Spec: spec}
	other := meta("shop", "web.1", "")
	return []client.Object{
		&v1alpha1.ProxyConfig{ObjectMeta: meta("", "default", ""), Spec: v1alpha1.ProxyConfigSpec{Mode: v1alpha1.ModeNFTables}},
		&v1alpha1.NodeRuleSet{ObjectMeta: meta("", "node-1", "")},
		&corev1.Node{ObjectMeta: meta("", "node-1", ""), Spec: corev1.NodeSpec{PodCIDRs: []string{"10.244.1.0/24"}, ProviderID: secret},
			Status: corev1.NodeStatus{Images: []corev1.ContainerImage{{Names: []string{secret}}}}},
		&corev1.Service{ObjectMeta: meta("shop", "web", ""), Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.1"}},
		&corev1.Secret{ObjectMeta: meta("fairlead-system", "key", ""), Data: map[string][]byte{"key": []byte(secret)}},
		&corev1.ConfigMap{ObjectMeta: meta("fairlead-system", "config", ""), Data: map[string]string{"key": secret}},
		pod("fairlead-agent-a", "agent", 0), pod("fairlead-agent-b", "agent", 1), pod("fairlead-controller-manager-x", "controller", 0),
		&appsv1.DaemonSet{ObjectMeta: meta("fairlead-system", "fairlead-agent", "agent"), Spec: appsv1.DaemonSetSpec{Template: template}},
		&appsv1.Deployment{ObjectMeta: meta("fairlead-system", "fairlead-controller-manager", "controller"), Spec: appsv1.DeploymentSpec{Template: template}},
		&corev1.Event{ObjectMeta: meta("fairlead-system", "agent.1", ""), InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "fairlead-system"},
			Message: "authorization: Bearer " + secret},
		&corev1.Event{ObjectMeta: other, InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "shop"}, Message: "another's business"},
	}
}

func sources(t *testing.T) Sources {
	t.Helper()
	deny := func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
		if _, is := list.(*v1alpha1.ServiceRuleSliceList); is {
			return errors.New(`serviceruleslices.proxy.fairlead.dev is forbidden: User "jane" cannot list`)
		}
		return c.List(ctx, list, options...)
	}
	return Sources{
		API: fake.NewClientBuilder().WithScheme(kubectltest.Scheme(t)).WithObjects(planted()...).
			WithInterceptorFuncs(interceptor.Funcs{List: deny}).Build(),
		Scheme: kubectltest.Scheme(t), Namespace: "fairlead-system",
		Logs: func(_ context.Context, pod *corev1.Pod, o *corev1.PodLogOptions, w io.Writer) error {
			_, err := io.WriteString(w, "log of "+pod.Name+"\nuse "+token+"\nhttps://user:"+secret+"@example.com password="+secret+
				"\n-----BEGIN RSA PRIVATE KEY-----\n"+secret+"\n-----END RSA PRIVATE KEY-----\nafter\n")
			if o.Previous {
				err = errors.New("the connection broke") // what came before stays
			}
			return err
		},
		Metrics: func(_ context.Context, pod *corev1.Pod, w io.Writer) error {
			if pod.Name == "fairlead-agent-b" {
				return errors.New("pods \"fairlead-agent-b\" is forbidden:\nno portforward, token=" + secret)
			}
			_, err := io.WriteString(w, "fairlead_agent_listening 1")
			return err
		},
		Texts: []Text{{"check.txt", "the output of kubectl fairlead check", func(_ context.Context, w io.Writer) error {
			_, err := io.WriteString(w, "All checks pass.\n")
			return err
		}}},
	}
}

// unpack returns the files of an archive, and their names in order.
func unpack(t *testing.T, data []byte) (map[string]string, []string) {
	t.Helper()
	plain, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	files, names := map[string]string{}, []string{}
	for archive := tar.NewReader(plain); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files, names
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		files[header.Name], names = string(text), append(names, header.Name)
	}
}

// TestBundle compares all files of an archive with one file, and looks for what was planted.
func TestBundle(t *testing.T) {
	var first, second bytes.Buffer
	s := sources(t)
	for _, out := range []*bytes.Buffer{&first, &second} {
		if _, err := Write(t.Context(), s, out); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("two archives of the same cluster differ")
	}
	files, names := unpack(t, first.Bytes())
	var all strings.Builder
	for _, name := range names {
		all.WriteString("==== " + name + "\n" + files[name] + "\n")
	}
	kubectltest.Golden(t, "bundle.txt", []byte(all.String()))
	for _, unwanted := range []string{secret, token, "c2lnbmF0dXJl", "last-applied", "another's business", "managedFields"} {
		if strings.Contains(all.String(), unwanted) {
			t.Errorf("the archive has %q", unwanted)
		}
	}
	for _, wanted := range []string{"proxy.fairlead.dev/note: kept", "log of fairlead-agent-b", "--node-name=node-1", "after\n"} {
		if !strings.Contains(all.String(), wanted) {
			t.Errorf("the archive does not have %q", wanted)
		}
	}
}

// TestInterrupted checks that Ctrl-C ends it with an error.
func TestInterrupted(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	s := sources(t)
	s.Metrics = func(context.Context, *corev1.Pod, io.Writer) error {
		stop()
		return nil
	}
	if _, err := Write(ctx, s, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// TestRedactor checks lines that come in pieces, and one that is too long.
func TestRedactor(t *testing.T) {
	var out strings.Builder
	r := &redactor{to: &out}
	for _, part := range []string{"a tok", "en=x", "yz\nb ", strings.Repeat("c", 2*longestLine), "\nd"} {
		if _, err := io.WriteString(r, part); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.end(); err != nil {
		t.Fatal(err)
	}
	if want := "a token=REDACTED\nb " + strings.Repeat("c", longestLine-2) + "...\nd"; out.String() != want || r.size != int64(len(want)) {
		t.Errorf("%d bytes of %d: %.60s", len(out.String()), len(want), out.String())
	}
}

// TestBound checks that the logs of Pods that are not well stay when there are too many.
func TestBound(t *testing.T) {
	s := sources(t)
	s.bound = 1 << 10
	s.Logs = func(_ context.Context, pod *corev1.Pod, _ *corev1.PodLogOptions, w io.Writer) error {
		if pod.Name != "fairlead-agent-b" {
			return nil
		}
		_, err := io.WriteString(w, strings.Repeat("x", 2<<10))
		return err
	}
	var out bytes.Buffer
	if _, err := Write(t.Context(), s, &out); err != nil {
		t.Fatal(err)
	}
	files, _ := unpack(t, out.Bytes())
	if want := "logs: those of 1 Pods are left out"; !strings.Contains(files[folder+"errors.txt"], want) || files[folder+"metrics/fairlead-agent-a.txt"] != "" {
		t.Errorf("errors.txt is %s", files[folder+"errors.txt"])
	}
}
