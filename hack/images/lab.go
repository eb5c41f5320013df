// Copyright 2026 The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	ociv1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/fairlead-proxy/fairlead/hack/images/golang"
	"github.com/fairlead-proxy/fairlead/hack/images/labfiles"
	"github.com/fairlead-proxy/fairlead/hack/images/oci"
	"github.com/fairlead-proxy/fairlead/hack/images/rootfs"
)

// labImage is an image of the lab's Pods. It is made of programs that are there already.
type labImage struct {
	name string
	// as are other names: it takes the place of these images.
	as []string
	// base are the layers below the programs.
	base labBase
	// programs are their paths in the image.
	programs []string
	// fetched programs are of hack/controlplane.sh, the others are built in the checkout.
	fetched bool
	// files returns what else the image has.
	files func(context.Context, source) (rootfs.Tree, error)
	// onDemand images are only made if they are asked for: their programs take long to build.
	onDemand bool
	config   ociv1.ImageConfig
}

// labBase is what is below the programs.
type labBase int

const (
	onNothing labBase = iota
	onTools
	onNginx
	onAgent // the files of the agent's image
)

// labPath is the environment of images with tools.
var labPath = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}

var labImages = []labImage{
	{name: "fairlead-controller", programs: []string{"fairlead-controller"},
		config: ociv1.ImageConfig{Entrypoint: []string{"/fairlead-controller"}, User: "65532:65532"}},
	{name: "fairlead-agent", programs: []string{"fairlead-agent"}, base: onAgent,
		config: ociv1.ImageConfig{Entrypoint: []string{"/fairlead-agent"}, User: "0:0", Env: agentEnvironment}},
	{name: "echo", programs: []string{"echo"}, config: ociv1.ImageConfig{Entrypoint: []string{"/echo"}}},
	{name: "pause", programs: []string{"pause"}, config: ociv1.ImageConfig{Entrypoint: []string{"/pause"}, User: "65535:65535"}},
	{name: "coredns", programs: []string{"coredns"}, fetched: true, config: ociv1.ImageConfig{Entrypoint: []string{"/coredns"}}},
	{name: "tools", base: onTools, config: ociv1.ImageConfig{Cmd: []string{"/bin/sh"}, Env: labPath},
		as: []string{"alpine", "bash", "busybox", "debian", "distroless-iptables", "dnsutils", "glibc-dns-testing", "ubuntu"}},
	{name: "curl", base: onTools, config: ociv1.ImageConfig{Entrypoint: []string{"curl"}, Env: labPath}},
	{name: "nginx", base: onNginx, config: ociv1.ImageConfig{
		Entrypoint: []string{"/docker-entrypoint.sh"}, Cmd: []string{"nginx", "-g", "daemon off;"}, Env: labPath}},
	{name: "kube-proxy", base: onTools, programs: []string{"usr/local/bin/kube-proxy"}, fetched: true, onDemand: true,
		config: ociv1.ImageConfig{Entrypoint: []string{"/usr/local/bin/kube-proxy"}, Env: labPath}},
	{name: "flannel", base: onTools, programs: []string{"opt/bin/flanneld"}, fetched: true, onDemand: true,
		config: ociv1.ImageConfig{Entrypoint: []string{"/opt/bin/flanneld"}, Env: labPath}},
	{name: "calico", base: onTools, programs: []string{"usr/bin/calico-node", "opt/cni/bin/calico"}, fetched: true, onDemand: true,
		config: ociv1.ImageConfig{Entrypoint: []string{"/usr/bin/calico-node"}, Env: labPath}},
	{name: "traefik", programs: []string{"traefik"}, fetched: true, onDemand: true,
		config: ociv1.ImageConfig{Entrypoint: []string{"/traefik"}, User: "65532:65532"}},
	{name: "agnhost", base: onTools, programs: []string{"agnhost", "coredns"}, fetched: true, files: agnhostFiles, onDemand: true,
		config: ociv1.ImageConfig{Entrypoint: []string{"/agnhost"}, Cmd: []string{"pause"}, Env: labPath}},
	{name: "regression-issue-74839", programs: []string{"regression-issue-74839"}, fetched: true, onDemand: true,
		config: ociv1.ImageConfig{Entrypoint: []string{"/regression-issue-74839"}}},
}

// labBuild makes images of the lab for one architecture, and what they share only once.
type labBuild struct {
	source
	arch    string
	built   string // the folder of the programs of the checkout
	fetched string // that of hack/controlplane.sh

	lock  *oci.Layer // without files
	tools rootfs.Tree
	nginx rootfs.Tree
}

// lab makes images of the lab in a folder: those that are named, or all that are not on demand.
func lab(ctx context.Context, b labBuild, out string, names []string) error {
	images, err := selectLab(names)
	if err != nil {
		return err
	}
	if err := b.fetch(ctx, images); err != nil {
		return err
	}
	for _, i := range images {
		index, err := b.write(ctx, i, out)
		if err != nil {
			return fmt.Errorf("the image %s: %w", i.name, err)
		}
		fmt.Printf("%s@%s\n", filepath.Join(out, i.name), index.Digest)
	}
	return nil
}

// selectLab returns the images of names, or those that are not made on demand only.
func selectLab(names []string) ([]labImage, error) {
	var out []labImage
	for _, i := range labImages {
		if slices.Contains(names, i.name) || len(names) == 0 && !i.onDemand {
			out = append(out, i)
		}
	}
	for _, name := range names {
		if !slices.ContainsFunc(labImages, func(i labImage) bool { return i.name == name }) {
			return nil, fmt.Errorf("the lab has no image %q", name)
		}
	}
	return out, nil
}

// fetch asks hack/controlplane.sh for the programs of the images.
func (b *labBuild) fetch(ctx context.Context, images []labImage) error {
	var names []string
	for _, i := range images {
		for _, program := range i.programs {
			if i.fetched {
				names = append(names, path.Base(program))
			}
		}
	}
	if len(names) == 0 {
		return nil
	}
	cmd := exec.CommandContext(ctx, filepath.Join(b.dir, "hack/controlplane.sh"), names...)
	cmd.Stderr = os.Stderr // it may build them for minutes, and says so
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("hack/controlplane.sh: %w", err)
	}
	b.fetched = strings.TrimSpace(string(out))
	return nil
}

// write writes an image as a layout into a folder of that name, and links of its other names.
func (b *labBuild) write(ctx context.Context, i labImage, out string) (ociv1.Descriptor, error) {
	var index ociv1.Descriptor
	layers, err := b.layers(ctx, i)
	if err != nil {
		return index, err
	}
	about := oci.About{Reference: fullName("fairlead-lab/" + i.name + ":lab"), Created: layers[0].Time}
	err = oci.Replace(filepath.Join(out, i.name), func(layout *oci.Layout) error {
		image, err := layout.AddImage(about, oci.Image{Arch: b.arch, Layers: layers, Config: i.config})
		if err != nil {
			return err
		}
		index, err = layout.AddIndex(about, []ociv1.Descriptor{image})
		return err
	})
	for _, name := range i.as {
		link := filepath.Join(out, name)
		if old, _ := os.Readlink(link); err == nil && old != i.name {
			err = os.Symlink(i.name, link)
		}
	}
	return index, err
}

// layers returns the layers of an image. They are not compressed: a node is on this machine.
func (b *labBuild) layers(ctx context.Context, i labImage) ([]oci.Layer, error) {
	if err := b.readDebian(ctx); err != nil {
		return nil, err
	}
	var out []oci.Layer
	add := func(files rootfs.Tree, comment string) {
		out = append(out, oci.Layer{Files: files, Time: b.lock.Time, Comment: comment, Plain: true})
	}
	switch i.base {
	case onTools:
		add(b.tools, b.lock.Comment)
	case onNginx:
		add(b.tools, b.lock.Comment)
		add(b.nginx, b.lock.Comment+": nginx")
	case onAgent:
		layer, _, err := agentLayer(ctx, b.source, b.arch)
		if err != nil {
			return nil, err
		}
		add(layer.Files, layer.Comment)
	}
	if len(i.programs) > 0 {
		files, err := b.top(ctx, i)
		if err != nil {
			return nil, err
		}
		add(files, "the image "+i.name)
	}
	return out, nil
}

// top returns the programs of an image, and what it has besides the base.
func (b *labBuild) top(ctx context.Context, i labImage) (rootfs.Tree, error) {
	out, dir := rootfs.Tree{}, b.built
	if i.files != nil {
		files, err := i.files(ctx, b.source)
		if err != nil {
			return nil, err
		}
		out.Add("", files)
	}
	if i.fetched {
		dir = b.fetched
	}
	for _, program := range i.programs {
		data, err := os.ReadFile(filepath.Join(dir, path.Base(program)))
		if err != nil {
			return nil, fmt.Errorf("a program of the image %s: %w", i.name, err)
		}
		out[program] = rootfs.File{Mode: 0o755, Data: data}
	}
	return out, nil
}

// agnhostFiles is what the tests of Kubernetes find beside agnhost: a second name of it, a place
// for uploads, and the certificate of one of its servers.
func agnhostFiles(ctx context.Context, s source) (rootfs.Tree, error) {
	module, err := golang.ModuleDir(ctx, filepath.Join(s.dir, "test/controlplane/kubernetes"), "k8s.io/kubernetes")
	if err != nil {
		return nil, err
	}
	out := rootfs.Tree{"agnhost-2": {Link: "agnhost"}, "uploads": {Mode: fs.ModeDir | 0o755}}
	for _, name := range []string{"localhost.crt", "localhost.key"} {
		data, err := os.ReadFile(filepath.Join(module, "test/images/agnhost/porter", name))
		if err != nil {
			return nil, err
		}
		out[name] = rootfs.File{Mode: 0o644, Data: data}
	}
	return out, nil
}

// readDebian reads the packages of the lab's lock file, once.
func (b *labBuild) readDebian(ctx context.Context) error {
	if b.lock != nil {
		return nil
	}
	packages, lock, err := locked(ctx, b.source, labLockFile, b.arch)
	if err != nil {
		return err
	}
	if b.tools, err = labfiles.Tools(packages); err != nil {
		return err
	}
	if b.nginx, err = labfiles.Nginx(packages, b.tools); err != nil {
		return err
	}
	b.lock = &oci.Layer{Time: lock.Snapshot, Comment: "Debian " + suite + ": " + labLockFile}
	return nil
}
