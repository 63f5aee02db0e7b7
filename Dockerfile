# One target per component: docker build --target router -t hadis-router .
ARG PYTHON_IMAGE=python:3.11-slim
FROM ${PYTHON_IMAGE} AS base
WORKDIR /src
# Dependencies are layers of their own, which no change of the code makes anew: a wheel may be made of no packages yet.
COPY pyproject.toml LICENSE ./
RUN useradd --uid 10001 --create-home hadis && touch README.md

FROM base AS router
# Word frequencies of English are all that the router looks up; the other languages' take 50 MB.
RUN pip install --no-cache-dir '.[router,tracing]' \
    && find "$(python -c 'import wordfreq; print(wordfreq.DATA_PATH)')" -name '*.msgpack.gz' ! -name '*_en.*' -delete
COPY . .
RUN pip install --no-cache-dir --no-deps --force-reinstall .
USER 10001
ENV HADIS_ROUTER_HOST=0.0.0.0
EXPOSE 8080
ENTRYPOINT ["python", "-m", "hadis_router"]

FROM base AS worker
# torch.compile has its kernels compiled: those of a CPU, and on a GPU what starts them. Python's headers are in the base.
RUN apt-get update && apt-get install --yes --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
RUN pip install --no-cache-dir '.[worker,speed,tracing]'
COPY . .
RUN pip install --no-cache-dir --no-deps --force-reinstall .
USER 10001
ENV HADIS_WORKER_HOST=0.0.0.0
EXPOSE 8100
ENTRYPOINT ["python", "-m", "hadis_worker"]

FROM base AS profiler
RUN pip install --no-cache-dir '.[profiler]'
COPY . .
RUN pip install --no-cache-dir --no-deps --force-reinstall .
USER 10001
ENTRYPOINT ["hadis", "profile"]

FROM base AS operator
RUN pip install --no-cache-dir '.[operator]'
COPY . .
RUN pip install --no-cache-dir --no-deps --force-reinstall .
USER 10001
EXPOSE 8080 9100
ENTRYPOINT ["python", "-m", "hadis_operator"]
