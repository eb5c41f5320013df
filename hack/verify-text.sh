#!/usr/bin/env bash
# Copyright 2026 The Fairlead Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Fails on files that gofmt would change, on missing licence headers, on words that have
# another one in the field, and on files, functions, packages and types that are too large
# to read.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# A test may be a long table of cases.
readonly max_file=420 max_function=85 max_test=100
readonly max_files=25 max_methods=25 # of a package, of a type; without tests
# Notification, unsupported, notified, another program, active, since: say those.
readonly words='[Nn]ews|[Ll]acking|[Tt]old|[Nn]obody|[Mm]eanwhile|[Ss]omebody( else)?|[Ii]n force|lin[g]ers?|[Ll]ingering|who[ ]may'
failed=0
fail() { echo "verify: $*" >&2; failed=1; }

mapfile -t files < <(git ls-files '*.go' | grep -v -e '/zz_generated' -e '/applyconfiguration/')
unformatted=$(gofmt -l "${files[@]}")
[[ -z $unformatted ]] || fail "run 'make fmt':" $unformatted
for f in "${files[@]}"; do
  head -n 5 "$f" | grep -q 'SPDX-License-Identifier: Apache-2.0' || fail "$f has no licence header, see hack/boilerplate.go.txt"
  lines=$(wc -l <"$f")
  ((lines <= max_file)) || fail "$f has $lines lines, more than $max_file: two subjects in one?"
done
long=$(awk -v code=$max_function -v test=$max_test '
  FNR == 1 { start = 0; max = FILENAME ~ /_test\.go$/ ? test : code }
  /^func / { start = FNR; name = $0 }
  /^}/ && start { n = FNR - start + 1; if (n > max) printf "%s:%d %d lines: %s\n", FILENAME, start, n, name; start = 0 }
' "${files[@]}")
[[ -z $long ]] || fail "functions that are too long:"$'\n'"$long"
# shellcheck disable=SC2016
sizes=$(printf '%s\n' "${files[@]}" | grep -v '_test\.go$' | xargs awk -v files=$max_files -v methods=$max_methods '
  FNR == 1 { package = FILENAME; sub(/\/[^\/]*$/, "", package); n[package]++ }
  /^func \([A-Za-z_]* ?\*?[A-Za-z_]+(\[[^]]*\])?\) / {
    name = $0; sub(/\).*/, "", name); sub(/.*[ (*]/, "", name); sub(/\[.*/, "", name); m[package "." name]++
  }
  END {
    for (p in n) if (n[p] > files) printf "package %s: %d files\n", p, n[p]
    for (t in m) if (m[t] > methods) printf "type %s: %d methods\n", t, m[t]
  }' | sort)
[[ -z $sizes ]] || fail "too large (at most $max_files files, $max_methods methods): two subjects in one?"$'\n'"$sizes"
found=$(git grep -nIwE "$words" -- '*.go' '*.md' '*.sh' '*.yaml' Makefile || true)
[[ -z $found ]] || fail "words to replace:"$'\n'"$found"
while read -r t; do
  git grep -qE "^func $t\(" -- '*_test.go' || fail "the documents name the test $t, which does not exist"
done < <(git grep -ohE '`Test[A-Za-z0-9]+`' -- '*.md' ':!CHANGELOG.md' | tr -d '`' | sort -u)
while read -r f; do
  bash -n "$f" || fail "$f is no valid shell script"
done < <(git ls-files '*.sh')
exit $failed
