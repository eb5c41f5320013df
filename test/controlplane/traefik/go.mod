module github.com/fairlead-proxy/fairlead/test/controlplane/traefik

go 1.26.8

require github.com/traefik/traefik/v3 v3.7.10
