# One image for everything but workers (target headrace, the default), and one for the example's worker (target
# example-worker). What runs is compiled JavaScript with production dependencies only. No shell is needed, nothing is
# written outside /tmp, and the user has a number, so that Kubernetes can see that it is not root.

# Production builds pin the digest: --build-arg NODE_IMAGE=node:24-bookworm-slim@sha256:…
ARG NODE_IMAGE=node:24-bookworm-slim

FROM ${NODE_IMAGE} AS manifests
WORKDIR /src
# A registry of your own: --build-arg NPM_CONFIG_REGISTRY=https://…
ARG NPM_CONFIG_REGISTRY
ENV NPM_CONFIG_UPDATE_NOTIFIER=false NPM_CONFIG_FUND=false NPM_CONFIG_AUDIT=false
# Only what decides on dependencies: the layers below are kept until that changes.
COPY package.json package-lock.json ./
COPY apps/cli/package.json apps/cli/
COPY apps/gateway/package.json apps/gateway/
COPY apps/orchestrator/package.json apps/orchestrator/
COPY apps/trigger-service/package.json apps/trigger-service/
COPY libs/broker/package.json libs/broker/
COPY libs/core/package.json libs/core/
COPY libs/dispatch/package.json libs/dispatch/
COPY libs/http/package.json libs/http/
COPY libs/local/package.json libs/local/
COPY libs/registry/package.json libs/registry/
COPY libs/schemas/package.json libs/schemas/
COPY libs/sdk/package.json libs/sdk/
COPY libs/service/package.json libs/service/
COPY libs/store/package.json libs/store/
COPY libs/testing/package.json libs/testing/

FROM manifests AS build
RUN npm ci --ignore-scripts
COPY tsconfig.base.json ./
COPY libs libs
COPY apps apps
RUN node_modules/.bin/tsc -b apps/cli libs/sdk \
  && rm -rf libs/*/src libs/*/test apps/*/src libs/testing libs/*/dist/fixtures \
  && find libs apps -name '*.d.ts' -delete -o -name '*.tsbuildinfo' -delete -o -name 'tsconfig.json' -delete

# `npm ci --workspace` would bring what the tests need along. So those are taken out of the manifests first; every version
# is still the lockfile's. Without optional packages: only `headrace dev` has any, the binaries of its own Postgres.
# With the SDK, for the chart's test; it brings nothing that is not there already.
FROM manifests AS headrace-dependencies
RUN rm -r libs/testing \
  && npm pkg delete devDependencies --workspaces --include-workspace-root \
  && npm install --ignore-scripts --omit=dev --omit=optional \
  && npm sbom --omit=dev --omit=optional --sbom-format=spdx --workspaces > sbom.spdx.json

FROM manifests AS worker-dependencies
RUN rm -r apps libs/dispatch libs/http libs/local libs/service libs/store libs/testing \
  && npm pkg delete devDependencies --workspaces --include-workspace-root \
  && npm install --ignore-scripts --omit=dev --omit=optional \
  && npm sbom --omit=dev --omit=optional --sbom-format=spdx --workspaces > sbom.spdx.json

FROM ${NODE_IMAGE} AS runtime
RUN apt-get update \
  && apt-get install --yes --no-install-recommends tini \
  && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/log/*
ENV NODE_ENV=production
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.vendor="Headrace" \
  org.opencontainers.image.licenses="Apache-2.0" \
  org.opencontainers.image.version="${VERSION}" \
  org.opencontainers.image.revision="${REVISION}"
USER 10001:10001

FROM runtime AS example-worker
LABEL org.opencontainers.image.title="headrace-example-worker" \
  org.opencontainers.image.description="The worker of examples/event-triggered."
WORKDIR /app/examples/event-triggered
COPY --from=worker-dependencies /src/sbom.spdx.json /src/package.json /app/
COPY --from=worker-dependencies /src/node_modules /app/node_modules
COPY --from=build /src/libs/broker /app/libs/broker
COPY --from=build /src/libs/core /app/libs/core
COPY --from=build /src/libs/schemas /app/libs/schemas
COPY --from=build /src/libs/sdk /app/libs/sdk
# As whoever copies the example has it: Node runs its TypeScript without building.
COPY examples/event-triggered/package.json examples/event-triggered/*.ts ./
EXPOSE 9464
ENTRYPOINT ["/usr/bin/tini", "--", "node"]
CMD ["worker.ts"]

FROM runtime AS headrace
LABEL org.opencontainers.image.title="headrace" \
  org.opencontainers.image.description="Gateway, trigger service, orchestrator and migration of Headrace."
WORKDIR /app
COPY --from=headrace-dependencies /src/sbom.spdx.json /src/package.json ./
COPY --from=headrace-dependencies /src/node_modules node_modules
COPY --from=build /src/libs libs
COPY --from=build /src/apps apps
# Other containers must reach it: on such an address HEADRACE_AUTH has to be said.
ENV HEADRACE_HOST=0.0.0.0
EXPOSE 8080 8082 9080 9081 9082
ENTRYPOINT ["/usr/bin/tini", "--", "node", "/app/apps/cli/dist/main.js"]
CMD ["--help"]
