// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package ingress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-proxy/fairlead/test/lab/network"
)

// requestTime has room for retransmitted SYNs, on a busy machine.
const requestTime = 10 * time.Second

// browser is a client outside of the cluster.
type browser struct {
	http *http.Client
	// cookie is sent if it is set.
	cookie *http.Cookie
}

// newBrowser returns one that opens a connection for each request, or keeps it open.
func newBrowser(keep bool) browser {
	return browser{http: &http.Client{Transport: &http.Transport{
		DialContext: dialOutside, DisableKeepAlives: !keep}, Timeout: requestTime}}
}

// port is the local port of the last connection. One port follows the other: the kernel may choose one whose last
// connection was to a Pod that is gone, and connection tracking leads it there again for two minutes.
var port atomic.Uint32

const firstPort, numPorts = 10000, 20000

func dialOutside(ctx context.Context, family, address string) (conn net.Conn, err error) {
	err = network.Do(filepath.Join("/run/netns", config.Prefix+"client"), func() error {
		for range numPorts {
			dialer := net.Dialer{LocalAddr: &net.TCPAddr{Port: firstPort + int(port.Add(1)%numPorts)}}
			if conn, err = dialer.DialContext(ctx, family, address); !errors.Is(err, unix.EADDRINUSE) {
				break
			}
		}
		return err
	})
	return conn, err
}

// answer is what a client gets, and the Pod behind the ingress sees.
type answer struct {
	status int
	// pod is the one that answers.
	pod string
	// client is for whom the ingress asks.
	client string
	cookie *http.Cookie
}

// get sends a request to an address, as for a URL without a scheme.
func (b browser) get(address, url string) (answer, error) {
	host, path, _ := strings.Cut(url, "/")
	request, err := http.NewRequest(http.MethodGet, "http://"+address+"/"+path, nil)
	if err != nil {
		return answer{}, err
	}
	request.Host = host
	if b.cookie != nil {
		request.AddCookie(b.cookie)
	}
	response, err := b.http.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{}, err
	}
	out := answer{status: response.StatusCode}
	for _, cookie := range response.Cookies() {
		out.cookie = cookie
	}
	if out.status != http.StatusOK {
		return out, nil
	}
	// pod=NAME client=ADDRESS:PORT forwarded=ADDRESS
	fields := strings.Fields(string(body))
	if len(fields) != 3 {
		return out, fmt.Errorf("answer %q", body)
	}
	out.pod, out.client = strings.TrimPrefix(fields[0], "pod="), strings.TrimPrefix(fields[2], "forwarded=")
	return out, nil
}

// isOf says whether an answer comes from a Pod of a Deployment.
func (a answer) isOf(deployment string) error {
	if a.status != http.StatusOK || !strings.HasPrefix(a.pod, deployment+"-") {
		return fmt.Errorf("status %d from Pod %q, want 200 from one of %s", a.status, a.pod, deployment)
	}
	return nil
}
