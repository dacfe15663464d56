# The worker, and nothing that only builds it. Railway, Render, Cloud Run and Kubernetes run this file as it is.

FROM python:3.13-slim AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv --without-pip /opt/generation-worker
# What it depends on, checked against the hashes in the lock file, which is complete: pip has nothing to resolve.
# A layer of its own: it changes seldom.
COPY locks/build.txt locks/image.txt locks/
RUN pip install --no-deps --require-hashes -r locks/build.txt \
 && pip --python /opt/generation-worker/bin/python install --no-deps --require-hashes -r locks/image.txt \
 && pip --python /opt/generation-worker/bin/python check
COPY pyproject.toml README.md LICENSE ./
COPY alembic alembic
COPY generation_worker generation_worker
RUN pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && pip --python /opt/generation-worker/bin/python install --no-deps dist/*.whl

# python:slim brings the certificates of the authorities (ca-certificates), and nothing else is needed of Debian.
FROM python:3.13-slim
COPY --from=build /opt/generation-worker /opt/generation-worker
ENV PATH=/opt/generation-worker/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
# Only the storage directory and /tmp are written to: the root may be read-only. Without S3 or R2, images go to
# /data/storage, which lasts as long as the container unless a volume is mounted there.
RUN install --directory --owner=10001 --group=10001 /data /data/storage
WORKDIR /data
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:%s/health/live' % (os.environ.get('PORT') or os.environ.get('WORKER_HEALTH_CHECK_PORT') or 8080), timeout=4)"]
# In exec form, so that the worker itself is process 1 and gets the signal to stop.
ENTRYPOINT ["generation-worker"]
CMD ["run"]
