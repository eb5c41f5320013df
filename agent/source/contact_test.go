// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// TestContact asks whether the apiserver has answered since a moment.
func TestContact(t *testing.T) {
	const moment = 100
	for name, tc := range map[string]struct {
		answers []int // when the requests began
		asked   bool  // before the answers
		want    bool
		wakes   int
	}{
		"nothing was answered":                 {nil, true, false, 0},
		"a request of before":                  {[]int{99}, true, false, 1},
		"a request of the same moment":         {[]int{100}, true, false, 1},
		"a request since":                      {[]int{101}, true, true, 1},
		"no one waits":                         {[]int{101}, false, true, 0},
		"more of them":                         {[]int{101, 102, 103}, true, true, 1},
		"one of before is answered after it":   {[]int{101, 99}, true, true, 1},
		"one of before that is answered first": {[]int{99, 101}, true, true, 1},
	} {
		t.Run(name, func(t *testing.T) {
			in := NewStore(time.Now)
			wakes := 0
			in.Contact.wake = func() { wakes++ }
			if tc.asked && in.Contact.Since(time.Unix(moment, 0)) {
				t.Error("knows of an answer before there is one")
			}
			for _, began := range tc.answers {
				in.Contact.Answered(time.Unix(int64(began), 0))
			}
			if got := in.Contact.Since(time.Unix(moment, 0)); got != tc.want || wakes != tc.wakes {
				t.Errorf("answered: %v, woke %d times", got, wakes)
			}
		})
	}
}

// TestObserve makes requests: what the apiserver refuses is an answer, and what a gateway says of
// an apiserver that is not there is none.
func TestObserve(t *testing.T) {
	for name, tc := range map[string]struct {
		code int // 0: the server is gone
		want bool
	}{
		"an answer":             {http.StatusOK, true},
		"a refusal":             {http.StatusForbidden, true},
		"too many requests":     {http.StatusTooManyRequests, true},
		"a gateway":             {http.StatusBadGateway, false},
		"a broken apiserver":    {http.StatusInternalServerError, false},
		"the apiserver is away": {0, false},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(tc.code) }))
			t.Cleanup(server.Close)
			if tc.code == 0 {
				server.Close()
			}
			now := time.Unix(1000, 0)
			in := NewStore(func() time.Time { return now })
			config := &rest.Config{Host: server.URL}
			client, err := NewClient(in.Contact.Observe(config))
			if err != nil || config.WrapTransport != nil {
				t.Fatalf("error %v; the given config is changed: %v", err, config.WrapTransport != nil)
			}
			err = client.Get().Resource("noderulesets").MaxRetries(0).Do(t.Context()).Error() // of some answers
			if tc.code != http.StatusOK && err == nil {
				t.Error("the request has no error")
			}
			if got := in.Contact.Since(now.Add(-1)); got != tc.want {
				t.Errorf("answered: %v", got)
			}
			if in.Contact.Since(now) {
				t.Error("the request began when it was answered")
			}
		})
	}
}
