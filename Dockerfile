# CPU: docker build -t pfbench .     CUDA: docker build -t pfbench:cuda --build-arg DEVICE=cuda .
FROM python:3.11-slim-bookworm

ARG DEVICE=cpu
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONUNBUFFERED=1 \
    MPLCONFIGDIR=/tmp/matplotlib

WORKDIR /opt/pfbench
COPY constraints.txt ./
# The wheel of the common index brings CUDA along, some gigabytes that a CPU has no use for.
RUN case "$DEVICE" in \
      cpu) pip install --no-deps --index-url https://download.pytorch.org/whl/cpu \
             "$(grep '^torch==' constraints.txt)" ;; \
      cuda) ;; \
      *) echo "DEVICE is cpu or cuda, not $DEVICE" >&2; exit 1 ;; \
    esac

COPY pyproject.toml README.md LICENSE ./
COPY harness harness
COPY models models
COPY baselines baselines
COPY tuning tuning
RUN pip install -c constraints.txt .

RUN useradd --create-home --uid 1000 pfbench && mkdir /work && chown pfbench /work
USER pfbench
WORKDIR /work
ENTRYPOINT ["pfbench"]
CMD ["--help"]
