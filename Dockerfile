# slotway in an image: docker build -t slotway --build-arg COMMIT=$(git rev-parse --short=12 HEAD) .

FROM rust:1-slim-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY proxy proxy
COPY testbed testbed
COPY benches benches
# There is no repository in here that could be asked; `slotway --version` and /metrics tell it.
ARG COMMIT=
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    SLOTWAY_BUILD_COMMIT=$COMMIT cargo build --release --locked --package slotway \
    && cp target/release/slotway /slotway

FROM debian:bookworm-slim
RUN useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin slotway
COPY LICENSE LICENSE-MIT LICENSE-APACHE /usr/share/doc/slotway/
COPY conf/slotway.toml /etc/slotway/slotway.toml.example
COPY --from=build /slotway /usr/local/bin/slotway
# Loopback, the default, cannot be reached from outside of a container. A flag wins over these, a
# configuration file does not.
ENV SLOTWAY_LISTEN=0.0.0.0:6379 SLOTWAY_ADMIN=0.0.0.0:9121
USER 10001:10001
EXPOSE 6379 9121
# Healthy once clients are served. The image has no curl, but bash can talk to a socket.
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/${SLOTWAY_ADMIN##*:} && printf 'GET /readyz HTTP/1.0\\r\\n\\r\\n' >&3 && read -r _ status _ <&3 && test \"$status\" = 200"]
ENTRYPOINT ["slotway"]
