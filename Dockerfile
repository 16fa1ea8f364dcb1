# The operator's image. BASE is any Debian or official Python image that has `python3`
# with its venv module; the same one is used to build and to run.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
WORKDIR /build
RUN python3 -m venv /opt/venv
COPY requirements.lock ./
RUN /opt/venv/bin/pip install --no-cache-dir --no-compile --no-deps --require-hashes --only-binary :all: \
      -r requirements.lock
# Neither pip, nor libraries' own tests, nor the asynchronous twin of the cluster client
# (half of the whole environment) is used when it runs.
RUN /opt/venv/bin/pip uninstall --quiet --yes setuptools pip \
 && find /opt/venv -depth -type d \( -name tests -o -name test -o -name __pycache__ \) -exec rm -rf {} + \
 && find /opt/venv \( -name '*.pyi' -o -name '*.pyx' -o -name '*.c' -o -name '*.h' \) -delete \
 && rm -rf /opt/venv/lib/python3*/site-packages/kubernetes/aio \
 && find /opt/venv/bin -type f ! -name 'activate*' -delete
COPY operator/conductor /opt/app/conductor
# The root file system is read-only when it runs: byte code has to be there before.
RUN find /opt/app -type d -name __pycache__ -prune -exec rm -rf {} + ; \
    /opt/venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib /opt/app \
 && /opt/venv/bin/python -c 'import sys; sys.path.insert(0, "/opt/app"); import kopf, kubernetes, prometheus_api_client, conductor'

FROM ${BASE}
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="maestro-conductor" \
      org.opencontainers.image.description="Upgrades whole control planes blue/green, with their data, and takes them back" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/app /opt/app
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/opt/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MALLOC_ARENA_MAX=2
WORKDIR /opt/app
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["python", "-m", "conductor"]
CMD ["run"]
