# The image of tallyd. Builds with BuildKit and with the classic builder:
#
#   docker build --build-arg BASE_IMAGE=python:3.11-slim@sha256:… --tag tallyd .
#
# BASE_IMAGE has no default on purpose: pin it by digest, so that the same commit makes the same image. The digest of
# what you have pulled: docker image inspect --format '{{index .RepoDigests 0}}' python:3.11-slim. Any image with
# Python 3.11 or later, its venv module and the GNU C library will do.
#
# Without internet, put wheels into a folder wheels/ beside this file and add --build-arg PIP_NO_INDEX=1; see
# docs/install/image.md. PIP_INDEX_URL names a mirror; do not put a password there, it stays in the build's history.
ARG BASE_IMAGE
# (A message in a FROM may have no spaces.)
FROM ${BASE_IMAGE:?give_--build-arg_BASE_IMAGE=python:3.11-slim@sha256:DIGEST} AS build
ARG PIP_INDEX_URL
ARG PIP_NO_INDEX
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build

# The environment first: it changes only with the lock. It gets no pip of its own.
COPY requirements.lock requirements-dev.lock wheels* wheels/
RUN python3 -m venv tools \
 && python3 -m venv --without-pip /opt/tallyd \
 && tools/bin/pip --python /opt/tallyd/bin/python install --quiet --no-compile --require-hashes \
        --only-binary :all: --find-links wheels --requirement wheels/requirements.lock \
 # What builds our wheel is locked as well.
 && awk '/^[a-z0-9]/ { keep = /^(hatchling|packaging|pathspec|pluggy|tomlkit|trove-classifiers)==/ } keep' \
        wheels/requirements-dev.lock >build.lock \
 && tools/bin/pip install --quiet --require-hashes --only-binary :all: --find-links wheels --requirement build.lock

COPY pyproject.toml README.md LICENSE ./
COPY controller controller
COPY store store
RUN tools/bin/pip wheel --quiet --no-deps --no-index --no-build-isolation --wheel-dir dist . \
 && tools/bin/pip --python /opt/tallyd/bin/python install --quiet --no-compile --no-deps --no-index dist/*.whl \
 && find /opt/tallyd -type d -name tests -path '*/site-packages/*' -prune -exec rm -rf {} + \
 # Compiled once, here: the running container can write nothing but its state.
 && /opt/tallyd/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/tallyd/lib

FROM ${BASE_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="tallyd" \
      org.opencontainers.image.description="The reconciliation controller for plain Docker hosts" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN echo 'tallyd:x:65532:' >>/etc/group \
 && echo 'tallyd:x:65532:65532:tallyd:/var/lib/tallyd:/usr/sbin/nologin' >>/etc/passwd \
 && install -d -m 0755 /etc/tallyd \
 && install -d -m 0750 -o 65532 -g 65532 /var/lib/tallyd
COPY --from=build /opt/tallyd /opt/tallyd
# Everything that is written lies in /var/lib/tallyd. The two settings can be set anew; the others have no default here.
ENV PATH=/opt/tallyd/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/var/lib/tallyd \
    TMPDIR=/var/lib/tallyd \
    SQLITE_TMPDIR=/var/lib/tallyd \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TALLYD_CONFIG=/etc/tallyd/tallyd.yaml \
    TALLYD_LISTEN=0.0.0.0:9477
VOLUME /var/lib/tallyd
EXPOSE 9477
USER 65532:65532
WORKDIR /var/lib/tallyd
HEALTHCHECK --interval=60s --timeout=15s --start-period=60s --retries=3 CMD ["tallyd", "probe", "--healthy"]
ENTRYPOINT ["tallyd"]
CMD ["run"]
