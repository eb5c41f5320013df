module github.com/fairlead-proxy/fairlead/test/controlplane/calico

go 1.26.8

require (
	github.com/projectcalico/api v0.0.0-20240708202104-e3f70b269c2c
	github.com/projectcalico/calico v1.11.0-cni-plugin.0.20250813170300-a0db560f0520 // release-v3.28, after v3.28.5
)
