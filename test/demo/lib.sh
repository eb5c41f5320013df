# Copyright 2026 The Fairlead Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Steps, checks and requests of the demo; sourced by run.sh.

passed=0 failed=0

bold='' cyan='' green='' red='' plain=''
if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
  bold=$'\e[1m' cyan=$'\e[36m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
fi

# title TEXT: a new chapter of the demo.
title() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }

# show COMMAND: runs a command and prints it as a user would type it.
show() {
  printf '%s$ %s%s\n' "$cyan" "$*" "$plain"
  "$@" || { local code=$?; echo "   (exit status $code)"; return "$code"; }
}

pass() { passed=$((passed + 1)); printf '   %sok%s   %s\n' "$green" "$plain" "$*"; }
fail() { failed=$((failed + 1)); printf '   %sFAIL%s %s\n' "$red" "$plain" "$*"; }

# check TEXT COMMAND...: counts the result of the command and returns it.
check() {
  local text=$1
  shift
  if "$@"; then
    pass "$text"
  else
    fail "$text"
    return 1
  fi
}

# now prints milliseconds.
now() { echo $(($(date +%s%N) / 1000000)); }

# within SECONDS COMMAND...: retries the command until it succeeds or the time is
# over; took is the elapsed time in milliseconds.
within() {
  local start deadline
  start=$(now)
  deadline=$((start + $1 * 1000))
  shift
  until "$@"; do
    (($(now) < deadline)) || { took=$(($(now) - start)); return 1; }
    sleep 0.05
  done
  took=$(($(now) - start))
}

# everywhere COMMAND [ARGUMENT...]: runs COMMAND NODE [ARGUMENT...] for every node, until one fails.
everywhere() {
  local command=$1 node
  shift
  for node in "${nodes[@]}"; do
    "$command" "$node" "$@" || return 1
  done
}

k() { kubectl -n myservice "$@"; }

# in_place WHERE COMMAND...: runs a command in a Pod (pod), on a node (node-1 ...)
# or on the client outside the cluster (client).
in_place() {
  local where=$1
  shift
  if [[ $where == pod ]]; then
    kubectl -n myservice exec client -- "$@"
  else
    "$LAB" exec "$where" -- "$@"
  fi
}

# get WHERE URL: sends one request; prints which Pod answered.
get() { in_place "$1" curl --silent --fail --max-time 2 "$2" 2>/dev/null | sed 's/^/   /'; }

# ask WHERE URL COUNT: sends requests one after the other, until three have failed;
# prints how often each Pod answered.
ask() {
  in_place "$1" bash -c '
    failed=0
    for i in $(seq '"$3"'); do
      curl --silent --fail --max-time 2 "'"$2"'" && continue
      echo "failed (curl exit status $?)"
      ((++failed < 3)) || break
    done | sort | uniq -c' | sed 's/^/   /'
}

# answers_from WHERE URL COUNT PODS: the requests reach exactly that many Pods and
# none fails.
answers_from() {
  local out
  out=$(ask "$1" "$2" "$3")
  echo "$out"
  [[ $out != *failed* ]] && (($(grep -c . <<<"$out") == $4))
}

# keep_asking WHERE URL: sends requests one after the other in the background, each in a new
# connection, until asked_enough. Writes of each curl's exit status, the time, and the seconds until it was
# connected and answered. A busy machine may need some for an answer; a connection that fails needs ten.
asking=()
keep_asking() {
  rm -f "$scratch/enough"
  in_place "$1" bash -c 'until [[ -e $1 ]]; do curl --silent --fail --max-time 10 --output /dev/null --write-out "%{exitcode} %{time_connect} %{time_total} " "$2"; printf "%(%T)T\n" -1; done' \
    - "$scratch/enough" "$2" >"$scratch/asked-$1" &
  asking+=($!)
  background+=($!)
}

asked_enough() {
  touch "$scratch/enough"
  wait "${asking[@]}"
  asking=()
}

# asked WHERE prints the number of these requests.
asked() { wc -l <"$scratch/asked-$1"; }

# none_failed WHERE: there were some, and all were answered. Prints those that were not.
none_failed() { [[ -s $scratch/asked-$1 ]] && ! grep -v '^0 ' "$scratch/asked-$1"; }

# refused WHERE URL: the connection is refused at once and does not time out.
refused() {
  in_place "$1" curl --silent --max-time 2 --output /dev/null "$2" 2>/dev/null
  local code=$?
  ((code == 7))
}

# vip SERVICE prints the cluster IP.
vip() { k get service "$1" -o jsonpath='{.spec.clusterIP}'; }

# ready_endpoints SERVICE prints the number of ready endpoints (IPv4).
ready_endpoints() {
  k get endpointslices -l kubernetes.io/service-name="$1" \
    -o jsonpath='{range .items[?(@.addressType=="IPv4")].endpoints[?(@.conditions.ready==true)]}{.addresses[0]}{"\n"}{end}' 2>/dev/null | grep -c . || true
}

has_endpoints() { (($(ready_endpoints "$1") == $2)); }
