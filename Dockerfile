# Three images from one file: `app` serves, `training` trains and promotes, `mlflow` tracks.
# Run them with a read-only root; `training` writes below /work, which is a volume.

# The digest as it stands in the Dockerfile of the public repository peiyang-z6/BandStructure_AI_Project.
ARG BASE=docker.io/library/python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

FROM ${BASE} AS build
# Code is compiled to the same bytes wherever and whenever: the order of sets is fixed, and no source's date is kept.
ENV UV_LINK_MODE=copy UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never PYTHONHASHSEED=0 COMPILE="-m compileall -q --invalidation-mode unchecked-hash"
WORKDIR /build
COPY requirements/ requirements/
# uv from the lock, with its hash, into an environment that stays behind in this stage.
RUN python -m venv /uv \
    && awk '/^[^ #]/ { wanted = /^uv==/ } wanted && !/#/' requirements/dev.lock > uv.lock \
    && /uv/bin/pip install -q --no-cache-dir --require-hashes --no-deps -r uv.lock

FROM build AS build-app
RUN python -m venv --without-pip /venv && VIRTUAL_ENV=/venv /uv/bin/uv pip sync -q --require-hashes requirements/app.lock
COPY images/root images/root
# Without docstrings and asserts, as the process runs: some megabytes less, and nothing is compiled at each start.
RUN images/root /root.fs && /venv/bin/python -OO $COMPILE -s /root.fs -p / /root.fs
COPY app/ /src/app/
RUN /venv/bin/python -OO $COMPILE /src

FROM build AS build-training
RUN python -m venv --without-pip /venv && VIRTUAL_ENV=/venv /uv/bin/uv pip sync -q --require-hashes requirements/training.lock \
    && /venv/bin/python $COMPILE /venv
COPY app/ /src/app/
COPY policies/ /src/policies/
COPY training/ /src/training/
RUN /venv/bin/python $COMPILE /src

FROM build AS build-mlflow
RUN python -m venv --without-pip /venv && VIRTUAL_ENV=/venv /uv/bin/uv pip sync -q --require-hashes requirements/tracking.lock \
    && /venv/bin/python $COMPILE /venv

FROM ${BASE} AS base
ENV PATH=/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PYTHONPATH=/src HOME=/tmp
WORKDIR /work
# Numeric, so that Kubernetes can tell that it is not root.
USER 10001:10001

FROM base AS mlflow
LABEL org.opencontainers.image.title="churn-mlflow" org.opencontainers.image.description="MLflow's server: runs, models, artifacts"
COPY --from=build-mlflow /venv /venv
EXPOSE 5000
ENTRYPOINT ["mlflow"]
CMD ["server", "--host", "0.0.0.0", "--port", "5000"]

FROM base AS training
LABEL org.opencontainers.image.title="churn-training" org.opencontainers.image.description="The churn command: trains and promotes"
COPY --from=build-training /venv /venv
COPY --from=build-training /src /src
ENTRYPOINT ["python", "-m", "training.cli", "--home", "/work"]
CMD ["--help"]

# Of the base only what the process loads.
FROM scratch AS app
LABEL org.opencontainers.image.title="churn-app" org.opencontainers.image.description="The inference service"
COPY --from=build-app /root.fs /
COPY --from=build-app /src /src
WORKDIR /work
USER 10001:10001
# A memory arena for each thread is for programs with more threads at work than one.
ENV PATH=/venv/bin PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PYTHONPATH=/src HOME=/tmp \
    CHURN_HOST=0.0.0.0 MALLOC_ARENA_MAX=2 PYTHONOPTIMIZE=2
EXPOSE 8080 9090
ENTRYPOINT ["python", "-m", "app"]
