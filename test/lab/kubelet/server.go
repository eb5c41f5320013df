// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	"github.com/fairlead-proxy/fairlead/test/lab/kubelet/container"
	"github.com/fairlead-proxy/fairlead/test/lab/kubelet/logs"
	"github.com/fairlead-proxy/fairlead/test/lab/network"
)

const streamIdleTimeout = 4 * time.Hour

// serve answers the apiserver's requests about Pods until ctx ends.
func (k *kubelet) serve(ctx context.Context, listener net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", k.serveLogs)
	for _, method := range []string{"GET", "POST"} {
		mux.HandleFunc(method+" /exec/{namespace}/{pod}/{container}", k.serveExec)
		mux.HandleFunc(method+" /portForward/{namespace}/{pod}", k.servePortForward)
	}
	server := &http.Server{
		Handler: mux, ReadHeaderTimeout: requestTimeout,
		BaseContext: func(net.Listener) context.Context { return ctx },
		// Upgraded connections are a matter of HTTP/1.1.
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	config := k.ServerTLS.Clone()
	config.NextProtos = []string{"http/1.1"}
	if err := server.Serve(tls.NewListener(listener, config)); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("kubelet's server of %s: %w", k.Node.Name, err)
	}
	return nil
}

// lookup finds the container that a request names, and answers when there is
// none.
func (k *kubelet) lookup(w http.ResponseWriter, r *http.Request) (*worker, *containerState) {
	pod := k.find(r.PathValue("namespace"), r.PathValue("pod"))
	if pod == nil {
		http.Error(w, fmt.Sprintf("pod %q does not run on this node", r.PathValue("pod")), http.StatusNotFound)
		return nil, nil
	}
	for _, c := range pod.containers {
		if c.spec.Name == r.PathValue("container") {
			return pod, c
		}
	}
	http.Error(w, fmt.Sprintf("container %q not found in pod %q", r.PathValue("container"), r.PathValue("pod")), http.StatusNotFound)
	return nil, nil
}

func (k *kubelet) serveLogs(w http.ResponseWriter, r *http.Request) {
	pod, c := k.lookup(w, r)
	if c == nil {
		return
	}
	options, previous, err := logOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	pod.mu.Lock()
	file, ended, waiting := c.log, c.logDone, c.state.Waiting
	if previous {
		file, ended = c.oldLog, nil
		if c.process == nil {
			file = c.log
		}
	}
	pod.mu.Unlock()
	if file == "" {
		message := fmt.Sprintf("container %q in pod %q has not been started yet", c.spec.Name, r.PathValue("pod"))
		if previous {
			message = fmt.Sprintf("previous terminated container %q in pod %q not found", c.spec.Name, r.PathValue("pod"))
		} else if waiting != nil {
			message = fmt.Sprintf("container %q in pod %q is waiting to start: %s", c.spec.Name, r.PathValue("pod"), waiting.Reason)
		}
		http.Error(w, message, http.StatusBadRequest)
		return
	}
	if ended == nil {
		options.Follow = false
	}
	w.Header().Set("Content-Type", "text/plain")
	out := &flusher{w: w}
	if err := logs.Read(r.Context(), file, options, ended, out); err != nil && !out.used {
		status := http.StatusInternalServerError
		if errors.Is(err, os.ErrNotExist) {
			status = http.StatusNotFound
		}
		http.Error(w, err.Error(), status)
	}
}

// flusher sends every line at once.
type flusher struct {
	w    http.ResponseWriter
	used bool
}

func (f *flusher) Write(data []byte) (int, error) {
	f.used = true
	n, err := f.w.Write(data)
	if err != nil {
		return n, err
	}
	return n, http.NewResponseController(f.w).Flush()
}

func logOptions(r *http.Request) (options logs.Options, previous bool, err error) {
	query := r.URL.Query()
	options = logs.Options{
		Tail: -1, Follow: query.Get("follow") == "true", Timestamps: query.Get("timestamps") == "true",
	}
	for name, into := range map[string]*int64{"tailLines": &options.Tail, "limitBytes": &options.Limit} {
		if text := query.Get(name); text != "" {
			if *into, err = strconv.ParseInt(text, 10, 64); err != nil {
				return options, false, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	if text := query.Get("sinceSeconds"); text != "" {
		seconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return options, false, fmt.Errorf("sinceSeconds: %w", err)
		}
		options.Since = time.Now().Add(-time.Duration(seconds) * time.Second)
	}
	if text := query.Get("sinceTime"); text != "" {
		if options.Since, err = time.Parse(time.RFC3339, text); err != nil {
			return options, false, fmt.Errorf("sinceTime: %w", err)
		}
	}
	return options, query.Get("previous") == "true", nil
}

func (k *kubelet) serveExec(w http.ResponseWriter, r *http.Request) {
	pod, c := k.lookup(w, r)
	if c == nil {
		return
	}
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	pod.mu.Lock()
	process := c.process
	pod.mu.Unlock()
	if process == nil {
		http.Error(w, fmt.Sprintf("container %q is not running", c.spec.Name), http.StatusBadRequest)
		return
	}
	remotecommand.ServeExec(w, r, executor{process}, "", "", "", r.URL.Query()["command"], options,
		streamIdleTimeout, remotecommand.DefaultStreamCreationTimeout, remotecommand.SupportedStreamingProtocols)
}

// executor runs commands in one container.
type executor struct{ process *container.Process }

// ExecInContainer implements [remotecommand.Executor]; the names were looked up
// already.
func (e executor) ExecInContainer(ctx context.Context, _, _, _ string, command []string, in io.Reader, out, errOut io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize, _ time.Duration) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var streams container.Streams
	// Nil interfaces only: a stream that was not requested is nil.
	if in != nil {
		streams.In = in
	}
	if out != nil {
		streams.Out = out
	}
	if errOut != nil {
		streams.Err = errOut
	}
	if tty {
		sizes := make(chan container.TerminalSize)
		streams.Resize = sizes
		go forwardSizes(ctx, resize, sizes)
	}
	exit, err := e.process.Exec(ctx, command, streams)
	var failed *container.StartError
	if errors.As(err, &failed) {
		// The exit code alone is not enough, and the client may have no error stream.
		for _, stream := range []io.Writer{streams.Err, streams.Out} {
			if stream != nil {
				if _, err := fmt.Fprintln(stream, failed); err != nil {
					return fmt.Errorf("say why the command failed: %w", err)
				}
				break
			}
		}
		return utilexec.CodeExitError{Err: failed, Code: failed.Code}
	}
	if err != nil {
		return err
	}
	if exit.Code != 0 {
		return utilexec.CodeExitError{Err: fmt.Errorf("exit code %d", exit.Code), Code: exit.Code}
	}
	return nil
}

func forwardSizes(ctx context.Context, from <-chan remotecommand.TerminalSize, to chan<- container.TerminalSize) {
	defer close(to)
	for {
		select {
		case size, ok := <-from:
			if !ok {
				return
			}
			select {
			case to <- container.TerminalSize(size):
			case <-ctx.Done():
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

func (k *kubelet) servePortForward(w http.ResponseWriter, r *http.Request) {
	pod := k.find(r.PathValue("namespace"), r.PathValue("pod"))
	if pod == nil {
		http.Error(w, fmt.Sprintf("pod %q does not run on this node", r.PathValue("pod")), http.StatusNotFound)
		return
	}
	options, err := portforward.NewV4Options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	portforward.ServePortForward(w, r, forwarder{pod}, "", "", options,
		streamIdleTimeout, remotecommand.DefaultStreamCreationTimeout, portforward.SupportedProtocols)
}

// forwarder connects to the loopback address inside a Pod.
type forwarder struct{ pod *worker }

// PortForward implements [portforward.PortForwarder].
func (f forwarder) PortForward(ctx context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	dial := network.DialContext(f.pod.netNSPath())
	conn, err := dial(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
	if err != nil {
		var err6 error
		if conn, err6 = dial(ctx, "tcp", net.JoinHostPort("::1", strconv.Itoa(int(port)))); err6 != nil {
			return errors.Join(err, err6)
		}
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	go func() {
		// Whichever side ends first ends the other.
		_, _ = io.Copy(conn, stream)
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	_, err = io.Copy(stream, conn)
	return err
}
