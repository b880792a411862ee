#!/usr/bin/env bash
# Checks everything under packaging/ without running it; the tools are in lint-requirements.txt.
# What a machine lacks (systemd, kubectl) is left out, and said.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v hadolint >/dev/null || { echo "run this as \`make lint-packaging\`" >&2; exit 2; }

hadolint --config packaging/hadolint.yaml packaging/docker/*.Dockerfile
check-jsonschema --quiet --builtin-schema vendor.compose-spec packaging/docker/compose.yaml
shellcheck packaging/*.sh packaging/bin/* packaging/air-gapped/*.sh

validate() { kubernetes-validate --quiet --strict "$@"; }
for file in packaging/kubernetes/{namespace,storage,network,nightly,once/job}.yaml; do validate "$file"; done
if command -v kubectl >/dev/null; then
  built=$(mktemp)
  trap 'rm -f "$built"' EXIT
  for folder in packaging/kubernetes packaging/kubernetes/once; do
    kubectl kustomize "$folder" >"$built"
    validate "$built"
  done
else
  echo "left out: kustomize, as there is no kubectl"
fi
echo "packaging: all checks passed"
