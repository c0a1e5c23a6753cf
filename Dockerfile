# docker build -t tollgate:0.1.0 .
# docker run -p 8080:8080 -v ./conf:/etc/tollgate:ro -v tollgate:/var/lib/tollgate -e OPENAI_API_KEY tollgate:0.1.0
#
# A ledger in SQLite belongs in the volume: `ledger: sqlite:/var/lib/tollgate/tollgate.db`.

FROM rust:1.95-bookworm AS build
# For zlib-ng in Pingora.
RUN apt-get update && apt-get install -y --no-install-recommends cmake
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin tollgate && strip -o /tollgate target/release/tollgate
RUN conf/docker/rootfs.sh /tollgate /rootfs

FROM scratch
COPY --from=build /rootfs /
COPY --from=build --chown=65532:65532 /rootfs/var/lib/tollgate /var/lib/tollgate
USER 65532:65532
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s \
    CMD ["/usr/bin/tollgate", "health"]
ENTRYPOINT ["/usr/bin/tollgate"]
CMD ["serve", "--config", "/etc/tollgate/tollgate.yaml"]
