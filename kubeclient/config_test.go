// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeclient

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
)

// server is an HTTPS server with a certificate for the given names, which
// answers with its name and the body it got.
type server struct {
	*httptest.Server
	requests atomic.Int32
}

// certificate makes a self-signed certificate, and its PEM text for clients.
func certificate(t *testing.T, names ...string) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: strings.Join(names, " ")},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func serve(t *testing.T, name string, cert tls.Certificate) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		if r.URL.Path == "/broken" {
			w.WriteHeader(http.StatusInternalServerError)
		}
		w.Write([]byte(name + ":" + string(body)))
	}))
	// Clients reject some of the servers on purpose.
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// refused returns an address on which no process listens.
func refused(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "https://" + l.Addr().String()
}

func client(t *testing.T, base *rest.Config, addresses ...string) *http.Client {
	t.Helper()
	cfg, _, err := Config(base, addresses)
	if err != nil {
		t.Fatal(err)
	}
	c, err := rest.HTTPClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { utilnet.CloseIdleConnectionsFor(c.Transport) })
	return c
}

func post(t *testing.T, c *http.Client, url string) string {
	t.Helper()
	resp, err := c.Post(url, "text/plain", bytes.NewReader([]byte("hello")))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestFailover(t *testing.T) {
	cert, ca := certificate(t, "127.0.0.1")
	wrong, _ := certificate(t, "192.0.2.1")
	a, b := serve(t, "a", cert), serve(t, "b", cert)
	impostor := serve(t, "impostor", wrong)
	base := &rest.Config{TLSClientConfig: rest.TLSClientConfig{CAData: ca}}

	cases := map[string]struct {
		addresses []string
		want      string
	}{
		"one address":             {[]string{a.URL}, "a:hello"},
		"first of two":            {[]string{a.URL, b.URL}, "a:hello"},
		"first refuses":           {[]string{refused(t), b.URL}, "b:hello"},
		"two refuse":              {[]string{refused(t), refused(t), a.URL}, "a:hello"},
		"first is an impostor":    {[]string{impostor.URL, b.URL}, "b:hello"},
		"first name is not known": {[]string{"https://no-such-host.invalid:6443", b.URL}, "b:hello"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c := client(t, base, tc.addresses...)
			for range 2 {
				if got := post(t, c, tc.addresses[0]+"/"); got != tc.want {
					t.Errorf("answer: got %q, want %q", got, tc.want)
				}
			}
		})
	}
	if n := impostor.requests.Load(); n != 0 {
		t.Errorf("a server with a wrong certificate got %d requests", n)
	}
}

func TestStaysWithTheAddressThatWorks(t *testing.T) {
	cert, ca := certificate(t, "127.0.0.1")
	a, b := serve(t, "a", cert), serve(t, "b", cert)
	c := client(t, &rest.Config{TLSClientConfig: rest.TLSClientConfig{CAData: ca}}, a.URL, b.URL)
	var got []string
	get := func() { got = append(got, post(t, c, a.URL)) }
	get()
	// An open connection could carry and lose one more request, which is not
	// repeated; force the next request to connect.
	utilnet.CloseIdleConnectionsFor(c.Transport)
	a.Close()
	get()
	get()
	if diff := cmp.Diff([]string{"a:hello", "b:hello", "b:hello"}, got); diff != "" {
		t.Error(diff)
	}
	utilnet.CloseIdleConnectionsFor(c.Transport)
	b.Close()
	resp, err := c.Get(a.URL)
	if err == nil {
		resp.Body.Close()
	}
	if err == nil || !strings.Contains(err.Error(), a.Listener.Addr().String()) || !strings.Contains(err.Error(), b.Listener.Addr().String()) {
		t.Errorf("all down: got %v, want an error that names both addresses", err)
	}
}

// TestLeavesAServerThatIsSilent checks that a request which fails before its response
// begins goes on at the next address when it is retried: after a dial or a response that
// the request's own deadline has cut off, and after a response that does not begin.
func TestLeavesAServerThatIsSilent(t *testing.T) {
	cert, ca := certificate(t, "127.0.0.1")
	tarpit, err := net.Listen("tcp", "127.0.0.1:0") // accepts connections, never says a word
	if err != nil {
		t.Fatal(err)
	}
	defer tarpit.Close()
	release := make(chan struct{})
	silent := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	silent.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	silent.StartTLS()
	t.Cleanup(silent.Close)
	t.Cleanup(func() { close(release) })
	blackHole := func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, &net.OpError{Op: "dial", Err: ctx.Err()}
	}
	for name, tc := range map[string]struct {
		first    string
		dial     func(context.Context, string, string) (net.Conn, error) // of the first
		deadline bool                                                    // the request has one
	}{
		"a dial without an answer":       {"https://192.0.2.1:6443", blackHole, true},
		"a TLS handshake without answer": {"https://" + tarpit.Addr().String(), nil, true},
		"a request without an answer":    {silent.URL, nil, true},
		"a request without a deadline":   {silent.URL, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			good := serve(t, "good", cert)
			first := strings.TrimPrefix(tc.first, "https://")
			transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool(t, ca)}}
			transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
				if address == first && tc.dial != nil {
					return tc.dial(ctx, network, address)
				}
				return (&net.Dialer{}).DialContext(ctx, network, address)
			}
			t.Cleanup(transport.CloseIdleConnections)
			f := &failover{next: transport, patience: time.Minute,
				servers: newServers([]string{first, strings.TrimPrefix(good.URL, "https://")})}
			ctx := t.Context()
			if tc.deadline {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, 100*time.Millisecond)
				defer cancel()
			} else {
				f.patience = 100 * time.Millisecond
			}
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, tc.first, nil)
			if err != nil {
				t.Fatal(err)
			}
			if resp, err := f.RoundTrip(req); err == nil {
				resp.Body.Close()
				t.Fatal("the first request must fail")
			}
			f.patience = time.Minute // a busy machine is not a silent server
			if got := post(t, &http.Client{Transport: f}, tc.first); got != "good:hello" {
				t.Errorf("the next request: %q", got)
			}
		})
	}
}

// TestLearn checks that learned servers are used, also by an open client, and left when they
// are no longer learned, while those given are always there.
func TestLearn(t *testing.T) {
	cert, ca := certificate(t, "127.0.0.1")
	b, c := serve(t, "b", cert), serve(t, "c", cert)
	given := refused(t)
	cfg, servers, err := Config(&rest.Config{TLSClientConfig: rest.TLSClientConfig{CAData: ca}}, []string{given})
	if err != nil {
		t.Fatal(err)
	}
	hc, err := rest.HTTPClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { utilnet.CloseIdleConnectionsFor(hc.Transport) })
	host := func(s string) string { return strings.TrimPrefix(s, "https://") }
	if resp, err := hc.Get(given); err == nil {
		resp.Body.Close()
		t.Fatal("nothing listens at the given address")
	}
	var got []string
	for _, learned := range [][]string{{host(b.URL)}, {host(b.URL), host(given)}, {host(c.URL)}} {
		servers.Learn(learned)
		got = append(got, post(t, hc, given))
	}
	if diff := cmp.Diff([]string{"b:hello", "b:hello", "c:hello"}, got); diff != "" {
		t.Error(diff)
	}
	servers.Learn(nil)
	if diff := cmp.Diff([]string{host(given)}, servers.hosts); diff != "" {
		t.Error(diff)
	}
	(*Servers)(nil).Learn([]string{"192.0.2.1:6443"}) // of a client that was given none
}

func pool(t *testing.T, ca []byte) *x509.CertPool {
	t.Helper()
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(ca) {
		t.Fatal("no certificate")
	}
	return p
}

func TestAnswersAreNotRepeatedElsewhere(t *testing.T) {
	cert, ca := certificate(t, "127.0.0.1")
	a, b := serve(t, "a", cert), serve(t, "b", cert)
	c := client(t, &rest.Config{TLSClientConfig: rest.TLSClientConfig{CAData: ca}}, a.URL, b.URL)
	if got := post(t, c, a.URL+"/broken"); got != "a:hello" {
		t.Errorf("got %q, want the first server's own error", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := c.Do(req); err == nil {
		resp.Body.Close()
		t.Error("a cancelled request must fail")
	}
	if n := b.requests.Load(); n != 0 {
		t.Errorf("second server got %d requests, want none", n)
	}
}

func TestServerName(t *testing.T) {
	cert, ca := certificate(t, serverName)
	s := serve(t, "a", cert)
	tlsConfig := rest.TLSClientConfig{CAData: ca}
	cases := map[string]struct {
		base    *rest.Config
		wantErr string
	}{
		"in a Pod":      {&rest.Config{TLSClientConfig: tlsConfig, BearerTokenFile: inClusterToken}, ""},
		"by kubeconfig": {&rest.Config{TLSClientConfig: tlsConfig}, "doesn't contain any IP SANs"},
		"with a name of its own": {&rest.Config{TLSClientConfig: rest.TLSClientConfig{CAData: ca, ServerName: "other"},
			BearerTokenFile: inClusterToken}, "not other"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			cfg, _, err := Config(tc.base, []string{s.URL})
			if err != nil {
				t.Fatal(err)
			}
			// The token does not exist here, and does not matter for TLS.
			cfg.BearerTokenFile = ""
			c, err := rest.HTTPClientFor(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer utilnet.CloseIdleConnectionsFor(c.Transport)
			resp, err := c.Get(cfg.Host)
			if err == nil {
				resp.Body.Close()
			}
			if (err == nil) != (tc.wantErr == "") || err != nil && !strings.Contains(err.Error(), tc.wantErr) {
				t.Errorf("got %v, want %q", err, tc.wantErr)
			}
		})
	}
}
