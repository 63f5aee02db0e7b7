# One target a component: docker build --target router -t hadis-router .
ARG PYTHON_IMAGE=python:3.11-slim
FROM ${PYTHON_IMAGE} AS source
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY core core
COPY operator operator
COPY router router
COPY worker worker
COPY profiler profiler
RUN useradd --uid 10001 --create-home hadis

FROM source AS router
# Word frequencies of English are all that the router looks up; the other languages' take 50 MB.
RUN pip install --no-cache-dir '.[router]' \
    && find "$(python -c 'import wordfreq; print(wordfreq.DATA_PATH)')" -name '*.msgpack.gz' ! -name '*_en.*' -delete
USER 10001
ENV HADIS_ROUTER_HOST=0.0.0.0
EXPOSE 8080
ENTRYPOINT ["python", "-m", "hadis_router"]

FROM source AS worker
RUN pip install --no-cache-dir '.[worker]'
USER 10001
ENV HADIS_WORKER_HOST=0.0.0.0
EXPOSE 8100
ENTRYPOINT ["python", "-m", "hadis_worker"]

FROM source AS profiler
RUN pip install --no-cache-dir '.[profiler]'
USER 10001
ENTRYPOINT ["hadis", "profile"]

FROM source AS operator
RUN pip install --no-cache-dir '.[operator]'
USER 10001
EXPOSE 8080 9100
ENTRYPOINT ["python", "-m", "hadis_operator"]
