//! Makes Pingora's peers of channels: the addresses and options for connecting to them.

use std::hash::BuildHasher as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use foldhash::quality::FixedState;
use pingora::protocols::ALPN;
use pingora::protocols::tls::CaType;
use pingora::upstreams::peer::HttpPeer;
use pingora::utils::tls::{CertKey, WrappedX509, parse_x509};

use super::proxy::Tunnel;
use crate::channel::{Channel, EgressProxy, Http2, is_public};
use crate::key::Secret;

/// A template for the Pingora peers of a channel: the options that all its connections have in common.
#[derive(Debug)]
pub(super) struct PeerTemplate {
    ca: Option<Arc<CaType>>,
    client_cert: Option<Arc<CertKey>>,
    /// The connector through the channel's egress proxy; `None` where the channel has no proxy.
    tunnel: Option<Arc<Tunnel>>,
    /// A hash of settings that Pingora does not compare when it reuses a connection: see [`group_key`].
    group_key: u64,
    /// Whether only public addresses may be connected to.
    public_only: bool,
}

impl PeerTemplate {
    pub(super) fn new(spec: &Channel, public_only: bool) -> Self {
        let roots = spec
            .ca
            .iter()
            .map(|der| WrappedX509::new(der.clone(), parse_x509));
        let roots: Arc<CaType> = roots.collect();
        let client_cert = spec.client_cert.as_ref();
        let client_cert = client_cert
            .map(|identity| CertKey::new(identity.chain(), identity.expose_key().to_vec()));
        let tunnel = spec.proxy.as_ref();
        let tunnel = tunnel.map(|proxy| Tunnel::new(proxy, &spec.url, spec.connect_timeout));
        Self {
            ca: (!roots.is_empty()).then_some(roots),
            client_cert: client_cert.map(Arc::new),
            tunnel: tunnel.map(Arc::new),
            group_key: group_key(spec),
            public_only,
        }
    }

    /// Makes the peer at `address`, which is the proxy's address if the channel has a proxy.
    pub(super) fn peer_at(&self, spec: &Channel, address: SocketAddr) -> HttpPeer {
        let url = &spec.url;
        // The SNI is never empty: Pingora would take that as "do not verify".
        let mut peer = HttpPeer::new(address, url.tls, url.host.clone());
        peer.group_key = self.group_key;
        peer.client_cert_key = self.client_cert.clone();
        let options = &mut peer.options;
        if let Some(tunnel) = &self.tunnel {
            options.custom_l4 = Some(tunnel.clone());
        }
        options.connection_timeout = Some(spec.connect_timeout);
        options.total_connection_timeout = Some(spec.connect_timeout * 2);
        options.ca = self.ca.clone();
        options.h2_ping_interval = Some(Duration::from_secs(30));
        // One request at a time for each connection. Pingora gives a stream the whole window of
        // its connection: a client that reads its video slowly would hold up all other streams.
        options.max_h2_streams = 1;
        options.alpn = match spec.http2 {
            Http2::Auto if url.tls => ALPN::H2H1,
            Http2::Auto | Http2::Never => ALPN::H1,
            Http2::Always => ALPN::H2,
        };
        peer
    }

    /// Looks up the addresses to connect to: those of the channel's proxy if it has one, else those of its
    /// host. Leaves out addresses that are not allowed. A proxy resolves the channel's host name itself. The
    /// error is the reason of the failure, as text.
    pub(super) async fn look_up(&self, spec: &Channel) -> Result<Vec<SocketAddr>, String> {
        let (host, port) = match &spec.proxy {
            Some(proxy) => (&*proxy.host, proxy.port),
            None => (&*spec.url.host, spec.url.port),
        };
        let found = tokio::net::lookup_host((host, port));
        match tokio::time::timeout(spec.connect_timeout, found).await {
            Ok(Ok(found)) => Ok(found.filter(|at| self.is_allowed(spec, at)).collect()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer from the resolver in time".into()),
        }
    }

    /// Returns whether the gate may connect to `address`. The address itself is checked and not its name,
    /// which may have resolved to another address a moment before. A proxy chooses the channel's address
    /// itself, so that then only an IP address in the channel's URL can be checked.
    fn is_allowed(&self, spec: &Channel, address: &SocketAddr) -> bool {
        let judged: Option<IpAddr> = match spec.proxy {
            Some(_) => spec.url.host.parse().ok(),
            None => Some(address.ip()),
        };
        !self.public_only || judged.is_none_or(is_public)
    }
}

/// Returns a hash of the settings that must be equal for channels to share a connection. They are the
/// trust roots, the client certificate (of which Pingora compares the serial number alone), and the proxy
/// with its credential and its target.
fn group_key(spec: &Channel) -> u64 {
    let client_cert = spec.client_cert.as_ref().map(|identity| identity.digest());
    let tunnel = spec.proxy.as_ref().map(|proxy| {
        let EgressProxy {
            host,
            port,
            authorization,
        } = proxy;
        let authorization = authorization.as_ref().map(Secret::expose);
        (host, port, authorization, &spec.url.host, spec.url.port)
    });
    FixedState::default().hash_one((&spec.ca, client_cert, tunnel))
}

#[cfg(test)]
mod tests {
    use pingora::upstreams::peer::Peer as _;

    use super::*;
    use crate::certificate::TlsIdentity;
    use crate::channel::ServerUrl;

    /// Makes an identity whose certificate has the serial number 7.
    fn identity() -> TlsIdentity {
        let mut params = rcgen::CertificateParams::new(vec!["gate".to_owned()]).unwrap();
        params.serial_number = Some(7_u64.into());
        let key = rcgen::KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap();
        let (cert, key) = (cert.pem(), key.serialize_pem());
        TlsIdentity::from_pem(cert.as_bytes(), key.as_bytes()).unwrap()
    }

    #[test]
    fn connections_are_shared_by_those_alone_who_connect_in_the_same_way() {
        let plain = Channel {
            url: ServerUrl::parse("https://api.example.com").unwrap(),
            ..Channel::named("a")
        };
        let with_cert = |identity: &TlsIdentity| Channel {
            client_cert: Some(identity.clone()),
            ..plain.clone()
        };
        let through = |proxy: &str, url: &str| Channel {
            url: ServerUrl::parse(url).unwrap(),
            proxy: Some(EgressProxy::parse(proxy).unwrap()),
            ..plain.clone()
        };
        let (one, other) = (identity(), identity());
        let different = [
            plain.clone(),
            with_cert(&one),
            with_cert(&other),
            through("http://127.0.0.1:1", "https://api.example.com"),
            through("http://127.0.0.1:1", "https://api.example.com:444"),
            through("http://127.0.0.1:1", "https://api.example.org"),
            through("http://u:p@127.0.0.1:1", "https://api.example.com"),
            through("http://u:q@127.0.0.1:1", "https://api.example.com"),
            through("http://127.0.0.1:2", "https://api.example.com"),
        ];
        // All channels connect to one address, as if a proxy's names led there.
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let hash = |spec: &Channel| {
            let peer = PeerTemplate::new(spec, false).peer_at(spec, address);
            assert!(!format!("{peer:?}").contains("Basic"));
            peer.reuse_hash()
        };
        let hashes: Vec<_> = different.iter().map(hash).collect();
        for (i, spec) in different.iter().enumerate() {
            for (j, hash) in hashes.iter().enumerate() {
                assert_eq!(hashes[i] == *hash, i == j, "{i} {j}");
            }
            let renamed = Channel {
                name: "b".into(),
                ..spec.clone()
            };
            assert_eq!(hash(&renamed), hashes[i]);
        }
    }

    #[tokio::test]
    async fn a_private_address_that_is_named_is_left_out_through_a_proxy_too() {
        for (url, found) in [("http://10.0.0.7", 0), ("http://93.184.215.14", 1)] {
            let spec = Channel {
                url: ServerUrl::parse(url).unwrap(),
                proxy: Some(EgressProxy::parse("http://127.0.0.1:3128").unwrap()),
                ..Channel::named("a")
            };
            let addresses = PeerTemplate::new(&spec, true).look_up(&spec).await;
            assert_eq!(addresses.unwrap().len(), found, "{url}");
        }
    }
}
