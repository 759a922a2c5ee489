# medsam-edge on a Jetson with JetPack 6 (Ubuntu 22.04, Python 3.10, CUDA 12.6, TensorRT 10.3).
#
# NOT BUILT OR RUN by the authors: they have no Jetson. Build it on the board, from a clone, after `make build`:
#
#     docker build -f docker/jetson.Dockerfile -t medsam-edge .
#     docker run --rm --runtime nvidia -v "$PWD:/work" -v medsam-edge-state:/state \
#         -v /etc/nv_tegra_release:/etc/nv_tegra_release:ro -v /etc/nvpmodel.conf:/etc/nvpmodel.conf:ro \
#         -v /var/lib/nvpmodel:/var/lib/nvpmodel:ro medsam-edge accept vitb.bundle --backend tensorrt
#
# The three files are the board's own: engines are bound to the L4T release, and a record names the power mode.
# JetPack 7 needs another base with its TensorRT and Python 3.12: --build-arg BASE=…
ARG BASE=nvcr.io/nvidia/l4t-jetpack:r36.4.0

FROM ${BASE}
ENV DEBIAN_FRONTEND=noninteractive \
    PATH=/opt/medsam-edge/bin:/usr/local/cuda/bin:${PATH} \
    XDG_STATE_HOME=/state
# Where PyCUDA's build finds CUDA; the driver itself is there only at run time, so it links against the stub.
ARG CPATH=/usr/local/cuda/include
ARG LIBRARY_PATH=/usr/local/cuda/lib64:/usr/local/cuda/lib64/stubs
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential python3-dev python3-pip python3-venv \
    && rm -rf /var/lib/apt/lists/*
COPY dist/medsam_edge-*.whl /tmp/wheel/
# The system's Python and its packages: TensorRT comes from JetPack, never from pip.
RUN python3 -m venv --system-site-packages /opt/medsam-edge \
    && pip install --no-cache-dir "pycuda>=2024.1" /tmp/wheel/*.whl \
    && python -c "import tensorrt; print(tensorrt.__version__)" \
    && mkdir --mode 0700 /state
VOLUME /state
WORKDIR /work
ENTRYPOINT ["medsam-edge"]
CMD ["doctor"]
