// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/fairlead-proxy/fairlead/test/lab/images"
	"github.com/fairlead-proxy/fairlead/test/lab/network"
	"github.com/fairlead-proxy/fairlead/test/lab/pki"
)

// serverVariable makes the test binary an HTTP server on the port it names: the
// program behind the image "server". It is healthy while /tmp/sick is missing.
const serverVariable = "KUBELET_TEST_SERVER"

func TestMain(m *testing.M) {
	MaybeRunContainerInit()
	if port := os.Getenv(serverVariable); port != "" {
		fmt.Println("serving")
		err := http.ListenAndServe(":"+port, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if _, err := os.Stat("/tmp/sick"); err == nil {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}))
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// cluster is a kubelet with real containers on a fake apiserver. Its node and
// all its Pods share one network namespace.
type cluster struct {
	*testing.T
	client   *fake.Clientset
	netns    string
	stateDir string
	http     *http.Client
	stop     func() error // ends the kubelet; again is harmless

	mu   sync.Mutex
	pods map[string]bool // with a network
}

var loopback = netip.MustParseAddr("127.0.0.1")

// AddPod implements [Network].
func (c *cluster) AddPod(_ network.Node, id string) (network.PodNet, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pods[id] = true
	return network.PodNet{NetNSPath: c.netns, IPv4: loopback, IPv6: netip.IPv6Loopback()}, nil
}

// DelPod implements [Network].
func (c *cluster) DelPod(_ network.Node, id string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pods, id)
	return nil
}

// Lookup implements [Images].
func (c *cluster) Lookup(name string) (images.Image, error) {
	switch name {
	case "shell":
		return images.Image{}, nil
	case "server":
		self, err := os.Executable()
		return images.Image{Entrypoint: []string{"/server"}, Files: map[string]string{"/server": self}}, err
	}
	return images.Image{}, fmt.Errorf("no image %q", name)
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("containers need root")
	}
	c := &cluster{T: t, pods: map[string]bool{}, stateDir: t.TempDir()}
	c.holdNamespace()
	c.client = fake.NewClientset(
		&corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: "kubernetes", Namespace: "default"},
			Spec:       corev1.ServiceSpec{ClusterIP: "10.96.0.1", Ports: []corev1.ServicePort{{Port: 443, Protocol: corev1.ProtocolTCP}}},
		},
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings", Namespace: "default"}, Data: map[string]string{"greeting": "hello"}},
	)
	serving, roots := c.certificates()
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	config := Config{
		Node:    network.Node{Name: "node-1", NetNSPath: c.netns, IPv4: loopback, IPv6: netip.IPv6Loopback()},
		Network: c, Images: c, StateDir: c.stateDir, Log: logr.Discard(),
		ServerTLS:  serving,
		ClusterDNS: "10.96.0.10", ClusterDomain: "cluster.local",
	}
	go func() { result <- run(ctx, config, c.client) }()
	c.stop = sync.OnceValue(func() error {
		cancel()
		return <-result
	})
	t.Cleanup(func() {
		if err := c.stop(); err != nil {
			t.Error(err)
		}
	})
	c.http = &http.Client{Transport: &http.Transport{
		DialContext: network.DialContext(c.netns), TLSClientConfig: roots, DisableKeepAlives: true,
	}}
	return c
}

// holdNamespace makes the network namespace and waits until its loopback is up.
func (c *cluster) holdNamespace() {
	c.Helper()
	holder := exec.Command("sh", "-c", "ip link set lo up && echo up && exec sleep 600")
	holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	output, err := holder.StdoutPipe()
	if err != nil {
		c.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() {
		_ = holder.Process.Kill()
		_ = holder.Wait()
	})
	if line, err := bufio.NewReader(output).ReadString('\n'); err != nil || line != "up\n" {
		c.Fatalf("network namespace: %q, %v", line, err)
	}
	c.netns = fmt.Sprintf("/proc/%d/ns/net", holder.Process.Pid)
}

// certificates returns the kubelet's and its client's side of TLS.
func (c *cluster) certificates() (server, client *tls.Config) {
	c.Helper()
	authority, err := pki.NewAuthority("test")
	if err != nil {
		c.Fatal(err)
	}
	pair := func(p pki.Pair, err error) tls.Certificate {
		if err != nil {
			c.Fatal(err)
		}
		certificate, err := tls.X509KeyPair(p.Cert, p.Key)
		if err != nil {
			c.Fatal(err)
		}
		return certificate
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(authority.Cert)
	server = &tls.Config{
		Certificates: []tls.Certificate{pair(authority.Server("node-1", loopback.String()))},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: trusted,
	}
	client = &tls.Config{Certificates: []tls.Certificate{pair(authority.Client("apiserver"))}, RootCAs: trusted}
	return server, client
}

// create makes a Pod of one container.
func (c *cluster) create(name string, main corev1.Container, change ...func(*corev1.PodSpec)) *corev1.Pod {
	c.Helper()
	main.Name = "main"
	grace := int64(5)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID(fmt.Sprintf("00000000-%s-uid", name))},
		Spec: corev1.PodSpec{
			NodeName: "node-1", RestartPolicy: corev1.RestartPolicyAlways, TerminationGracePeriodSeconds: &grace,
			DNSPolicy: corev1.DNSClusterFirst, Containers: []corev1.Container{main},
		},
	}
	for _, f := range change {
		f(&pod.Spec)
	}
	created, err := c.client.CoreV1().Pods("default").Create(c.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		c.Fatal(err)
	}
	return created
}

// await polls the Pod until it satisfies the test, and returns it; nil is a Pod
// that is gone.
func (c *cluster) await(name, what string, done func(*corev1.Pod) bool) *corev1.Pod {
	c.Helper()
	var pod *corev1.Pod
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		var err error
		if pod, err = c.client.CoreV1().Pods("default").Get(c.Context(), name, metav1.GetOptions{}); err != nil {
			pod = nil
		}
		if done(pod) {
			return pod
		}
	}
	c.Fatalf("Pod %s: not %s: %+v", name, what, pod)
	return nil
}

// markDeleted does what an apiserver does with a graceful delete.
func (c *cluster) markDeleted(pod *corev1.Pod, grace int64) {
	c.Helper()
	latest, err := c.client.CoreV1().Pods("default").Get(c.Context(), pod.Name, metav1.GetOptions{})
	if err != nil {
		c.Fatal(err)
	}
	at := metav1.NewTime(time.Now().Add(time.Duration(grace) * time.Second))
	latest.DeletionTimestamp, latest.DeletionGracePeriodSeconds = &at, &grace
	if _, err := c.client.CoreV1().Pods("default").Update(c.Context(), latest, metav1.UpdateOptions{}); err != nil {
		c.Fatal(err)
	}
}

func (c *cluster) networks() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.pods)
}
