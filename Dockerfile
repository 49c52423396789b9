# Wick in a container: docs/operations.md says how to run it.
ARG PYTHON=3.13
FROM python:${PYTHON}-slim AS build

WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY app ./app
COPY migrations ./migrations
COPY static ./static
COPY templates ./templates
# EXTRAS: "[voice]", "[ocr]" or "[voice,ocr]" for ears and eyes; LLAMA: another build of llama.cpp, for a GPU.
ARG EXTRAS=""
ARG LLAMA=""
RUN python -m venv /opt/wick \
    && /opt/wick/bin/python -m pip install --no-cache-dir --disable-pip-version-check -c constraints.txt ".${EXTRAS}" \
    && if [ -n "${LLAMA}" ]; then /opt/wick/bin/python -m pip install --no-cache-dir --force-reinstall --no-deps ${LLAMA}; fi \
    && /opt/wick/bin/python -m compileall -q /opt/wick/lib

FROM python:${PYTHON}-slim

# libgomp: threads of both engines.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --home-dir /data --shell /usr/sbin/nologin wick \
    && install --directory --owner=wick --group=wick --mode=700 /data
COPY --from=build /opt/wick /opt/wick
ENV PATH=/opt/wick/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    WICK_DATA_DIR=/data \
    WICK_HOST=0.0.0.0
USER wick
WORKDIR /data
VOLUME ["/data"]
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 CMD ["wick", "health"]
ENTRYPOINT ["wick"]
CMD ["serve"]
