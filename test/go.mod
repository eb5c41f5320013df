module github.com/fairlead-proxy/fairlead/test

go 1.26.0

require github.com/fairlead-proxy/fairlead v0.0.0

require (
	github.com/vishvananda/netlink v1.3.1 // indirect
	github.com/vishvananda/netns v0.0.5 // indirect
	golang.org/x/sys v0.10.0 // indirect
)

replace github.com/fairlead-proxy/fairlead => ../
