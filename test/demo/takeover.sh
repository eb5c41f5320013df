# Copyright 2026 The Fairlead Authors.
# SPDX-License-Identifier: Apache-2.0
#
# The chapters of the demo from kube-proxy to Fairlead; sourced by run.sh.

# with_kube_proxy installs kube-proxy as kubeadm does, and a Service, to which all nodes connect from then on.
with_kube_proxy() {
  title "A cluster with kube-proxy, and three nginx Pods behind one Service"
  local server
  server=$(kubectl -n fairlead-system get configmap fairlead-apiserver -o jsonpath='{.data.addresses}')
  sed "s|MODE|iptables|; s|VARIANT|nft|; s|APISERVER|$server|" test/e2e/kube-proxy.yaml >"$scratch/kube-proxy.yaml"
  show kubectl apply -f "$scratch/kube-proxy.yaml"
  show kubectl apply -f $here/manifests/mynginx.yaml
  check "kube-proxy runs on every node" \
    show kubectl -n kube-system rollout status daemonset/kube-proxy --timeout=60s
  k rollout status deployment/mynginx-deploy --timeout=60s
  k wait pod/client --for=condition=Ready --timeout=60s >/dev/null
  within 5 has_endpoints mynginx-service 3
  check "every node has its rules" within 30 everywhere has_kube_proxy
  check "cluster DNS reaches the apiserver through its Service" \
    show kubectl -n kube-system rollout status deployment/coredns --timeout=60s
  local node
  for node in "${nodes[@]}"; do
    check "all three Pods answer $node" answers_from "$node" "http://$(vip mynginx-service)/" 30 3
    keep_asking "$node" "http://$(vip mynginx-service)/"
  done
  echo "From here on, every node connects to the Service, one connection after the other."
}

take_over() {
  title "Fairlead takes over from kube-proxy, node by node"
  check "every node reports kube-proxy" within 70 everywhere reports_kube_proxy
  kube_proxy_status
  echo "The rights to keep kube-proxy off nodes:"
  show kubectl apply --server-side -k config/takeover
  show kubectl patch proxyconfig default --type=merge --patch '{"spec": {"kubeProxy": {"takeOver": true}, "rollout": {"strategy": "Staged",
    "maxUnavailable": 2, "stages": [{"name": "canary", "nodes": 1, "soakSeconds": 1}]}}}'
  check "a rollout begins" within 10 rollout_begins
  check "kube-proxy is kept off one node first" within 30 labelled 1
  show kubectl get nodes -L proxy.fairlead.dev/kube-proxy
  show kubectl get proxyconfig default -o jsonpath="$replaced"
  check "kube-proxy is replaced" \
    show kubectl wait proxyconfig/default --for=condition=KubeProxyReplaced --timeout=120s
  check "the rollout has succeeded" \
    show kubectl wait proxyrollout "$(rollout_name)" --for=condition=Succeeded --timeout=60s
  show kubectl get proxyconfig default -o jsonpath="$replaced"
  kube_proxy_status
  check "every node has Fairlead's rules, and none of kube-proxy" everywhere has_no_kube_proxy
  check "kube-proxy runs on no node" test "$(kubectl -n kube-system get daemonset kube-proxy -o jsonpath='{.status.desiredNumberScheduled}')" = 0
  asked_enough
  local node
  for node in "${nodes[@]}"; do
    check "none of $(asked "$node") connections from $node failed" none_failed "$node"
  done
  echo "With takeOver: false, the nodes would give back to kube-proxy in the same steps. Here it goes for good:"
  show kubectl -n kube-system delete daemonset/kube-proxy configmap/kube-proxy
  show kubectl patch proxyconfig default --type=merge --patch '{"spec": {"kubeProxy": null, "rollout": {"strategy": "AllAtOnce", "maxUnavailable": null, "stages": null}}}'
  check "the nodes' label goes, too" within 15 labelled 0
  check "every node stays programmed" nodes_run default NFTables
}

# replaced prints how far the take-over is.
readonly replaced='{range .status.conditions[?(@.type=="KubeProxyReplaced")]}{.type} {.status} {.reason}: {.message}{"\n"}{end}'

# kube_proxy_status shows what the agents find of kube-proxy.
kube_proxy_status() {
  show kubectl get noderulesets \
    -o custom-columns='NODE:.metadata.name,PROGRAMMED:.status.programmed.services,KUBE-PROXY:.status.kubeProxy.running,MODE:.status.kubeProxy.mode,RULES:.status.kubeProxy.leftovers,REPLACED:.status.conditions[?(@.type=="KubeProxyReplaced")].status'
}

reports_kube_proxy() { [[ $(kubectl get noderuleset "$1" -o jsonpath='{.status.kubeProxy.running} {.status.kubeProxy.mode}') == "true iptables" ]]; }

# has_kube_proxy NODE: the kernel has kube-proxy's rules of the Service and of all its Pods.
has_kube_proxy() {
  local rules
  rules=$(in_place "$1" iptables-save -t nat)
  grep 'KUBE-SERVICES .*myservice/mynginx-service.* KUBE-SVC-' <<<"$rules" >/dev/null &&
    (($(grep -c 'KUBE-SVC-.*myservice/mynginx-service[^ ]* -> .* KUBE-SEP-' <<<"$rules") == 3))
}

# has_no_kube_proxy NODE: nothing of it is there. KUBE-FIREWALL stays: a kubelet has that chain, too.
has_no_kube_proxy() {
  local rules
  rules=$(in_place "$1" nft list ruleset 2>/dev/null) || return 1
  [[ $rules == *"table ip fairlead {"* ]] && ! grep 'chain KUBE-' <<<"$rules" | grep -v KUBE-FIREWALL
}

# labelled COUNT: kube-proxy is kept off so many nodes.
labelled() { (($(kubectl get nodes -l proxy.fairlead.dev/kube-proxy=replaced -o name | grep -c .) == $1)); }
