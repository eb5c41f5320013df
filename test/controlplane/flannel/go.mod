module github.com/fairlead-proxy/fairlead/test/controlplane/flannel

go 1.26.8

require github.com/flannel-io/flannel v0.28.10
