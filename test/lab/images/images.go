// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package images maps container images to local programs. The
// lab pulls nothing: its Pods run on the host's files.
package images

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Image is what is known of an image before a Pod overrides it, with the words
// of a Dockerfile.
type Image struct {
	// Entrypoint is the program; a container's `command` replaces it.
	Entrypoint []string
	// Cmd are the arguments; a container's `args` or `command` replace them.
	Cmd []string
	// Files are files of the host to show in the container, by the path there.
	Files map[string]string
}

// Args is what a container runs, by the rules of a Pod's command and args.
func (i Image) Args(command, args []string) []string {
	entrypoint, cmd := i.Entrypoint, i.Cmd
	if len(command) > 0 {
		entrypoint, cmd = command, nil
	}
	if len(args) > 0 {
		cmd = args
	}
	return append(append([]string{}, entrypoint...), cmd...)
}

// Set finds the image of a name.
type Set struct {
	// BinDir holds the project's own programs.
	BinDir string
	// EchoPath is the path of the echo server, which is used for every unknown image.
	EchoPath string
	// CoreDNSPath is the CoreDNS program.
	CoreDNSPath string
	// KubeProxyPath is where kube-proxy is, if something is to run it.
	KubeProxyPath string
}

//go:embed nginx.sh
var nginxScript string

// shells are images that are used for the tools in them: a Pod has to say what
// to run.
var shells = map[string]bool{
	"alpine": true, "bash": true, "busybox": true, "debian": true, "dnsutils": true, "ubuntu": true,
}

// Lookup returns the image of a name such as docker.io/library/nginx:1.14-alpine.
// Only the last element of the repository counts. The error names what is missing
// on this machine.
func (s Set) Lookup(name string) (Image, error) {
	repository := Repository(name)
	switch {
	case repository == "":
		return Image{}, fmt.Errorf("image %q: no repository in the name", name)
	case repository == "fairlead-controller", repository == "fairlead-agent":
		return program("/"+repository, filepath.Join(s.BinDir, repository))
	case repository == "coredns":
		return program("/coredns", s.CoreDNSPath)
	case repository == "kube-proxy":
		return program("/usr/local/bin/kube-proxy", s.KubeProxyPath)
	case repository == "nginx":
		// What follows the script is $0 and then the Cmd, as of a docker-entrypoint.sh.
		return Image{
			Entrypoint: []string{"/bin/sh", "-c", nginxScript, "nginx"},
			Cmd:        []string{"nginx", "-g", "daemon off;"},
		}, nil
	case repository == "curl":
		return Image{Entrypoint: []string{"curl"}}, nil
	case repository == "pause":
		return Image{Entrypoint: []string{"sleep", "infinity"}}, nil
	case shells[repository]:
		return Image{Cmd: []string{"/bin/sh"}}, nil
	default:
		return program("/echo", s.EchoPath)
	}
}

func program(target, source string) (Image, error) {
	if _, err := os.Stat(source); err != nil {
		return Image{}, fmt.Errorf("program of the image: %w", err)
	}
	return Image{Entrypoint: []string{target}, Files: map[string]string{target: source}}, nil
}

// Repository is the last element of an image's repository, without registry,
// tag and digest.
func Repository(name string) string {
	name, _, _ = strings.Cut(name, "@")
	name = name[strings.LastIndex(name, "/")+1:]
	name, _, _ = strings.Cut(name, ":")
	return name
}
