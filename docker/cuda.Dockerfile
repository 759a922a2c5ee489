# medsam-edge on x86-64 with an NVIDIA GPU: CUDA 12.6, TensorRT 10.16, PyCUDA.
#
# NOT BUILT OR RUN by the authors: NVIDIA's package index, where TensorRT's libraries lie, was out of reach. From a clone,
# after `make build`:
#
#     docker build -f docker/cuda.Dockerfile -t medsam-edge .
#     docker run --rm --gpus all -v "$PWD:/work" -v medsam-edge-state:/state medsam-edge \
#         accept vitb.bundle --backend tensorrt
#
# tensorrt-cu12 and not `tensorrt`, whose newest version wants CUDA 13 and a driver for it.
ARG CUDA=12.6.1
ARG UBUNTU=ubuntu22.04

FROM nvidia/cuda:${CUDA}-devel-${UBUNTU} AS pycuda
ENV DEBIAN_FRONTEND=noninteractive
ARG CPATH=/usr/local/cuda/include
ARG LIBRARY_PATH=/usr/local/cuda/lib64:/usr/local/cuda/lib64/stubs
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential python3-dev python3-pip \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m pip wheel --no-cache-dir --wheel-dir /wheels "pycuda>=2024.1"

FROM nvidia/cuda:${CUDA}-runtime-${UBUNTU}
ENV DEBIAN_FRONTEND=noninteractive \
    PATH=/opt/medsam-edge/bin:${PATH} \
    XDG_STATE_HOME=/state
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-pip python3-venv \
    && rm -rf /var/lib/apt/lists/*
COPY --from=pycuda /wheels /tmp/wheels
COPY dist/medsam_edge-*.whl /tmp/wheels/
RUN python3 -m venv /opt/medsam-edge \
    && pip install --no-cache-dir "tensorrt-cu12==10.16.1.11" /tmp/wheels/*.whl \
    && mkdir --mode 0700 /state
VOLUME /state
WORKDIR /work
ENTRYPOINT ["medsam-edge"]
CMD ["doctor"]
