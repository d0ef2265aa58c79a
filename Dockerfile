FROM python:3.13-slim AS build
WORKDIR /src
COPY requirements/run.txt requirements/run.txt
RUN python -m venv /opt/fluxbase \
 && /opt/fluxbase/bin/pip install --no-cache-dir --require-hashes -r requirements/run.txt
COPY pyproject.toml README.md LICENSE ./
COPY fluxbase fluxbase
COPY sql sql
RUN /opt/fluxbase/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.13-slim
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends bubblewrap \
 && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 10001 --create-home --home-dir /var/lib/fluxbase fluxbase
COPY --from=build /opt/fluxbase /opt/fluxbase
ENV PATH=/opt/fluxbase/bin:$PATH PYTHONUNBUFFERED=1
USER fluxbase
WORKDIR /var/lib/fluxbase
# The embedded Postgres keeps its data below the working directory.
VOLUME /var/lib/fluxbase
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["fluxbase"]
CMD ["serve"]
