# Copyright 2026 The Fairlead Authors.
# SPDX-License-Identifier: Apache-2.0
#
# The chapters of the demo; sourced by run.sh.

readonly nodes=(node-1 node-2 node-3)
readonly node_ip=([1]=10.89.0.11 [2]=10.89.0.12 [3]=10.89.0.13)

story() {
  with_kube_proxy
  install_fairlead
  ((failed == 0)) || { why_not; return; }
  take_over
  one_service
  names
  scaling
  node_ports
  headless
  without_selector
  agent_killed
  no_endpoints
  bad_input
  ipvs
  modes
  bad_canary
  what_is_programmed
}

install_fairlead() {
  title "Fairlead is installed beside kube-proxy"
  show kubectl apply --server-side -k config/default
  show kubectl apply -f config/samples/proxyconfig.yaml
  check "every node is programmed" \
    show kubectl wait proxyconfig/default --for=condition=Available --timeout=60s
  check "the controller runs" \
    show kubectl -n fairlead-system rollout status deployment/fairlead-controller-manager --timeout=60s
  check "an agent runs on every node" \
    show kubectl -n fairlead-system rollout status daemonset/fairlead-agent --timeout=60s
}

# why_not prints what helps to find out why Fairlead does not start.
why_not() {
  echo
  show kubectl get pods -A -o wide
  show kubectl get events -A --field-selector=type=Warning
  show kubectl -n fairlead-system logs -l app.kubernetes.io/name=fairlead --prefix --tail=10
}

one_service() {
  title "The Service, through Fairlead's rules alone"
  show kubectl -n myservice get pods,services -o wide
  local ip
  ip=$(vip mynginx-service)
  echo "60 requests to $ip from a Pod:"
  check "all three Pods answered a Pod" answers_from pod "http://$ip/" 60 3
  echo "60 requests from a node:"
  check "all three Pods answered a node" answers_from node-2 "http://$ip/" 60 3
  echo "60 requests from outside, routed to a node:"
  check "all three Pods answered a client outside" answers_from client "http://$ip/" 60 3
}

names() {
  title "DNS names"
  check "nslookup finds the Service" show kubectl -n myservice exec client -- nslookup mynginx-service
  check "a request by name is answered" get pod http://mynginx-service/
}

scaling() {
  title "Scaling takes effect within a second"
  local ip
  ip=$(vip mynginx-service)
  show kubectl -n myservice scale deployment/mynginx-deploy --replicas=5
  check "five Pods are ready" within 30 has_endpoints mynginx-service 5
  check "every node has all five within a second" within 1 everywhere programmed "$ip" 5 &&
    echo "   after ${took} ms every node had the five endpoints"
  check "requests spread over five Pods" answers_from pod "http://$ip/" 100 5
  show kubectl -n myservice scale deployment/mynginx-deploy --replicas=2
  check "two Pods are left" within 30 has_endpoints mynginx-service 2
  check "no node has the removed Pods after a second" within 1 everywhere programmed "$ip" 2 &&
    echo "   after ${took} ms no node had the removed endpoints"
  check "no request is lost" answers_from pod "http://$ip/" 60 2
  show kubectl -n myservice scale deployment/mynginx-deploy --replicas=3
  check "three Pods are ready again" within 30 has_endpoints mynginx-service 3
}

# programmed NODE VIP COUNT: the node's kernel has COUNT endpoints.
programmed() { (($(kernel_endpoints "$1" "$2") == $3)); }

# kernel_endpoints NODE VIP prints the number of endpoints in the node's kernel.
kernel_endpoints() {
  "$LAB" exec "$1" -- nft list map ip fairlead endpoints | grep -o "tcp \. ${2//./\\.} \. [a-z0-9]* \. [0-9a-fx]* :" | wc -l
}

node_ports() {
  title "A node port, from outside, on every node"
  show kubectl apply -f $here/manifests/nodeport.yaml
  local i ip6
  ip6=$(k get service mynginx-nodeport-service -o jsonpath='{.spec.clusterIPs[1]}')
  check "its IPv6 address answers a Pod" within 2 get pod "http://[$ip6]/"
  for i in 1 2 3; do
    check "node-$i answers on port 30086" within 2 get client "http://${node_ip[i]}:30086/"
    check "its answers come from all three Pods" answers_from client "http://${node_ip[i]}:30086/" 40 3
  done
}

headless() {
  title "Headless: the DNS name resolves to the Pods"
  show kubectl apply -f $here/manifests/headless.yaml
  check "the name has three addresses" within 10 three_addresses
  show kubectl -n myservice exec client -- nslookup mynginx-headless-service
  check "a headless Service has no rules" no_rules mynginx-headless-service
}

three_addresses() {
  local out
  out=$(k exec client -- nslookup -type=A mynginx-headless-service.myservice.svc.cluster.local 2>/dev/null)
  (($(grep -c '^Address: 10\.244\.' <<<"$out") == 3))
}

no_rules() { [[ -z $(k get servicerules -l "fairlead.dev/service-namespace=myservice,fairlead.dev/service-name=$1" -o name) ]]; }

without_selector() {
  title "A Service without a selector, with hand-written Endpoints"
  "$LAB" exec client -- bin/echo --http=:8080 >/dev/null 2>&1 &
  background+=($!)
  show kubectl apply -f $here/manifests/external.yaml
  check "a Pod reaches the external server through the Service" \
    within 10 get pod "http://$(vip external-service):8080/"
}

agent_killed() {
  title "Killing an agent loses no connection"
  kubectl apply -f $here/manifests/echo.yaml >/dev/null
  k rollout status deployment/echo --timeout=60s
  within 10 has_endpoints echo 2
  local ip node pid before
  ip=$(vip echo)
  node=node-1
  # A connection through the Service that sends a number ten times a second.
  "$LAB" exec $node -- bash -c "exec 3<>/dev/tcp/$ip/9000; for i in \$(seq 60); do echo \$i >&3; read -r -t 2 answer <&3 || exit 1; echo \"\$answer\"; sleep 0.1; done" >"$scratch/answers" 2>&1 &
  pid=$!
  within 5 test -s "$scratch/answers"
  before=$(kernel_state $node)
  kill_agent $node
  check "its rules stay in the kernel while it is stopped" test "$(kernel_state $node)" = "$before"
  check "new connections are answered without it" get $node "http://$(vip mynginx-service)/"
  check "a new agent takes over" within 30 agent_ready $node
  check "it changed nothing in the kernel" test "$(kernel_state $node)" = "$before"
  if wait $pid; then pass "the open connection got all $(wc -l <"$scratch/answers") answers"; else fail "the open connection broke: $(tail -n 1 "$scratch/answers")"; fi
}

# kernel_state NODE prints a checksum of the rules, without counters.
kernel_state() { "$LAB" exec "$1" -- nft --stateless list ruleset 2>/dev/null | sort | sha256sum; }

agent_pod() {
  kubectl -n fairlead-system get pods -l app.kubernetes.io/component=agent \
    --field-selector "spec.nodeName=$1" -o jsonpath='{.items[0].metadata.name}'
}

# kill_agent NODE sends SIGKILL to the agent: it has no time to clean up.
kill_agent() {
  local pid
  restarts=$(agent_restarts "$1")
  for pid in $(ip netns pids "${FAIRLEAD_LAB_PREFIX:-fl-}$1"); do
    [[ $(<"/proc/$pid/comm") != fairlead-agent ]] || show kill -9 "$pid"
  done
}

agent_restarts() {
  kubectl -n fairlead-system get pod "$(agent_pod "$1")" -o jsonpath='{.status.containerStatuses[0].restartCount}'
}

agent_ready() {
  (($(agent_restarts "$1") > restarts)) && "$LAB" exec "$1" -- curl --silent --fail --max-time 1 http://127.0.0.1:10256/healthz >/dev/null
}

no_endpoints() {
  title "Without Pods, connections are refused at once"
  show kubectl -n myservice scale deployment/mynginx-deploy --replicas=0
  check "no endpoint is left" within 30 has_endpoints mynginx-service 0
  local ip
  ip=$(vip mynginx-service)
  # Until Pods that end are gone, they may be sent connections, which they do not answer.
  check "no node has one" within 10 everywhere programmed "$ip" 0
  check "refused from a Pod" within 1 refused pod "http://$ip/"
  check "refused from a node" refused node-3 "http://$ip/"
  check "refused from outside, on the node port" refused client "http://${node_ip[2]}:30086/"
  show kubectl -n myservice scale deployment/mynginx-deploy --replicas=3
  check "answered again when the Pods are back" within 30 get pod "http://$ip/"
}

bad_input() {
  title "An invalid ProxyConfig is rejected with a message that names the fix"
  local out
  out=$(sed 's/^  mode: .*/  mode: IPTables\n  ipvs: {scheduler: sh}/' config/samples/proxyconfig.yaml | kubectl apply -f - 2>&1)
  # shellcheck disable=SC2001
  sed 's/^/   /' <<<"$out"
  check "the message names the fix" grep -q 'mode: IPVS' <<<"$out"
}

ipvs() {
  title "A policy with mode IPVS"
  show kubectl apply -f config/samples/proxyconfig-ipvs.yaml
  if [[ $(capability node-1 .supported) == true ]]; then
    with_ipvs
  else
    without_ipvs
  fi
  check "and every Pod answers" answers_from pod "http://$(vip mynginx-service)/" 60 3
  show kubectl delete -f config/samples/proxyconfig-ipvs.yaml
  check "the previous policy is in effect again" nodes_run default NFTables
}

with_ipvs() {
  hack/deps.sh ipvsadm=ipvsadm
  check "every node runs it" nodes_run ipvs IPVS
  show kubectl get noderulesets
  show "$LAB" exec node-1 -- ipvsadm -Ln
}

without_ipvs() {
  check "its status reports the fallback mode" show kubectl wait proxyconfig/ipvs --timeout=15s \
    --for=jsonpath='{.status.conditions[?(@.type=="Degraded")].reason}'=FallbackMode
  show kubectl get proxyconfig ipvs -o jsonpath='{.status.conditions[?(@.type=="Degraded")].message}{"\n"}'
  check "every node reports what its kernel does not support" everywhere reports_no_ipvs
  show kubectl get noderulesets -o wide
}

# nodes_run POLICY MODE: all nodes have programmed the policy, in this mode.
nodes_run() {
  kubectl wait noderulesets --all --timeout=30s --for=jsonpath='{.status.policy.name}'="$1" >/dev/null &&
    kubectl wait noderulesets --all --timeout=30s --for=jsonpath='{.status.mode}'="$2" >/dev/null &&
    kubectl wait noderulesets --all --timeout=30s --for=condition=Programmed >/dev/null
}

# capability NODE FIELD prints a field of a node's IPVS capability.
capability() { kubectl get noderuleset "$1" -o jsonpath="{.status.capabilities[?(@.mode==\"IPVS\")]$2}"; }

reports_no_ipvs() { [[ $(capability "$1" .message) == "this kernel has no IPVS (module ip_vs)" ]]; }

modes() {
  title "Changing the mode of a running cluster, all nodes at once"
  local ip mode
  ip=$(vip mynginx-service)
  # Requests from outside to a node port, during the whole change.
  keep_asking client "http://${node_ip[2]}:30086/"
  for mode in IPTables Userspace NFTables; do
    show kubectl patch proxyconfig default --type=merge --patch "{\"spec\": {\"mode\": \"$mode\", \"rollout\": {\"strategy\": \"AllAtOnce\"}}}"
    check "every node runs it" nodes_run default "$mode"
    echo "On node-1:"
    look_at "$mode" "$ip" | sed 's/^[[:space:]]*/   /'
    echo "30 requests to $ip from node-1:"
    check "all Pods answer" answers_from node-1 "http://$ip/" 30 3
  done
  asked_enough
  check "none of $(asked client) requests failed during the changes" none_failed client
}

# look_at MODE VIP prints node-1's rules for an address in a mode.
look_at() {
  local address=${2//./\\.}
  case $1 in
    IPTables) in_place node-1 iptables-save -t nat | grep -e "-d $address/32" ;;
    Userspace) in_place node-1 ss -Hlnt src "$2" ;;
    NFTables) in_place node-1 nft list map ip fairlead endpoints | grep "$address " ;;
  esac
}

bad_canary() {
  title "A canary that fails undoes itself"
  local ip rollout table='table ip foreign'
  ip=$(vip echo)
  echo "On node-1, another program drops what goes to the Service echo:"
  show "$LAB" exec node-1 -- nft "add $table; add chain ip foreign out { type filter hook postrouting priority 0; }; add rule ip foreign out ct original ip daddr $ip drop"
  show kubectl patch proxyconfig default --type=merge --patch '{"spec": {"mode": "IPTables", "rollout": {"strategy": "Staged",
    "stages": [{"name": "canary", "nodes": 1, "soakSeconds": 1}],
    "checks": [{"name": "echo", "service": "myservice/echo", "port": 9000, "failureLimit": 1}]}}}'
  check "a rollout begins" within 10 rollout_begins
  rollout=$(rollout_name)
  check "it fails, and is undone" show kubectl wait proxyrollout "$rollout" --for=condition=RolledBack --timeout=60s
  show kubectl get proxyrollout "$rollout" -o jsonpath='{.status.failedNodes[0]}{"\n"}'
  check "node-1 has failed it" test "$(kubectl get proxyrollout "$rollout" -o jsonpath='{.status.failedNodes[*].name}')" = node-1
  check "no other node has had it" test "$(kubectl get proxyrollout "$rollout" -o jsonpath='{.status.stages[?(@.name=="rest")].updated}')" = 1
  check "every node runs the mode before" nodes_run default NFTables
  show "$LAB" exec node-1 -- nft delete "$table"
  show kubectl patch proxyrollout "$rollout" --type=merge --patch '{"spec": {"state": "Retry"}}'
  check "tried again, it succeeds" show kubectl wait proxyrollout "$rollout" --for=condition=Succeeded --timeout=60s
  check "every node runs it" nodes_run default IPTables
  show kubectl patch proxyconfig default --type=merge --patch '{"spec": {"mode": "NFTables", "rollout": {"strategy": "AllAtOnce", "stages": null, "checks": null}}}'
  check "every node runs NFTables again" nodes_run default NFTables
}

# rollout_name prints the rollout of the current policy.
rollout_name() { kubectl get proxyconfig default -o jsonpath='{.status.rollout.name}'; }

# rollout_begins: it is there, and not the one of an earlier policy.
rollout_begins() {
  local name
  name=$(rollout_name)
  [[ -n $name && $(kubectl get proxyrollout "$name" -o jsonpath='{.status.toRevision}') == "$(kubectl get proxyconfig default -o jsonpath='{.status.targetRevision}')" ]]
}

what_is_programmed() {
  title "What is programmed"
  echo "(Nodes report new counts at most once a minute: waiting until all have.)"
  check "every node reports the same rules" within 90 one_digest
  check "the objects can be listed" show kubectl get proxyconfig,noderulesets,servicerules
  check "kubectl explain documents the fields" show kubectl explain proxyconfig.spec.ipvs
  echo "On node-1, the kernel forwards port 80 of mynginx-service to:"
  look_at NFTables "$(vip mynginx-service)" | sed 's/^[[:space:]]*/   /'
}

# one_digest: all nodes report the digest of exactly the slices in the API.
one_digest() {
  local reported written
  reported=$(kubectl get noderulesets -o jsonpath='{range .items[*]}{.status.rulesDigest}{"\n"}{end}' | sort -u)
  written=$(kubectl get servicerules -o jsonpath='{range .items[*]}{.spec.digest}{"\n"}{end}' |
    { sum=0; while read -r digest; do sum=$((sum ^ 0x$digest)); done; printf '%016x' "$sum"; })
  [[ $reported == "$written" ]]
}
