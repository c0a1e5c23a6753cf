//! Finds the address of a client behind trusted proxies.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// A network of addresses, such as `10.0.0.0/8`, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    base: IpAddr,
    /// The number of leading bits that all addresses of the network share with the base.
    prefix: u8,
}

impl Network {
    /// Returns whether an address belongs to the network. An IPv4-mapped IPv6 address counts as the IPv4
    /// address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (bits, ours) = (bits(address.to_canonical()), bits(self.base));
        let shift = u32::from(ours.1 - self.prefix);
        let lead = |value: u128| value.checked_shr(shift).unwrap_or(0);
        bits.1 == ours.1 && lead(bits.0) == lead(ours.0)
    }
}

/// Formats the network as `address/prefix`, even if it is a single address.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

/// Returns the bits of an address, and their number.
fn bits(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(address) => (address.to_bits().into(), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

/// The error of a text that is not a valid network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write a network such as 10.0.0.0/8 or fd00::/8, or a single address")]
pub struct ParseNetworkError;

impl FromStr for Network {
    type Err = ParseNetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (base, prefix) = match text.split_once('/') {
            Some((base, prefix)) => (base, Some(prefix)),
            None => (text, None),
        };
        let base: IpAddr = base.parse().map_err(|_| ParseNetworkError)?;
        // A network in the form `::ffff:10.0.0.0` would contain no address: they are compared as IPv4.
        if base.to_canonical() != base {
            return Err(ParseNetworkError);
        }
        let (value, most) = bits(base);
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        let prefix = match prefix {
            None => most,
            Some(text) if digits(text) => text.parse().map_err(|_| ParseNetworkError)?,
            Some(_) => return Err(ParseNetworkError),
        };
        // The bits after the prefix must be zero: 10.1.2.3/8 is a mistake.
        let rest = most.checked_sub(prefix).ok_or(ParseNetworkError)?;
        let behind = 1_u128
            .checked_shl(rest.into())
            .map_or(value, |end| value & (end - 1));
        if behind != 0 {
            return Err(ParseNetworkError);
        }
        Ok(Self { base, prefix })
    }
}

/// Finds the address of a client, given the address of its connection (`peer`) and the values of
/// `X-Forwarded-For` in their order.
///
/// Each proxy appends the address that it got the request from, and a client can begin the list with
/// anything. So the list is read from the end, while the addresses are in `trusted`. The first address that
/// is not a trusted proxy's is the client's. If there is none, or an entry that is not an address is read
/// before it, the result is the trusted address that was read last.
pub fn client_address<'a>(
    peer: IpAddr,
    forwarded: impl DoubleEndedIterator<Item = &'a str>,
    trusted: &[Network],
) -> IpAddr {
    let is_trusted = |address| trusted.iter().any(|network| network.contains(address));
    let mut client = peer.to_canonical();
    for hop in forwarded.rev().flat_map(|value| value.rsplit(',')) {
        if !is_trusted(client) {
            break;
        }
        match address(hop.trim()) {
            Some(address) => client = address.to_canonical(),
            None => break,
        }
    }
    client
}

/// Parses an IP address, with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let plain = text.parse().ok();
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || Some(text.parse::<SocketAddr>().ok()?.ip());
    plain.or_else(bracketed).or_else(with_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_address_that_is_no_trusted_proxys_is_the_clients() {
        let trusted = ["10.0.0.0/8", "192.0.2.1", "fd00::/8"].map(|text| text.parse().unwrap());
        for (peer, forwarded, client) in [
            ("198.51.100.7", &[][..], "198.51.100.7"),
            // A peer that is not trusted is not believed.
            ("198.51.100.7", &["203.0.113.9"], "198.51.100.7"),
            ("10.1.2.3", &["203.0.113.9"], "203.0.113.9"),
            ("::ffff:10.1.2.3", &["203.0.113.9"], "203.0.113.9"),
            ("10.1.2.3", &["1.1.1.1, 203.0.113.9"], "203.0.113.9"),
            ("10.1.2.3", &["1.1.1.1", "203.0.113.9"], "203.0.113.9"),
            ("10.1.2.3", &["203.0.113.9, 192.0.2.1"], "203.0.113.9"),
            ("10.1.2.3", &["203.0.113.9:4711"], "203.0.113.9"),
            ("fd00::1", &["[2001:db8::1]:443"], "2001:db8::1"),
            ("fd00::1", &["[2001:db8::1]"], "2001:db8::1"),
            // An unreadable entry ends the search.
            ("10.1.2.3", &["203.0.113.9, unknown"], "10.1.2.3"),
            ("10.1.2.3", &[""], "10.1.2.3"),
            ("10.1.2.3", &["10.9.9.9"], "10.9.9.9"),
        ] {
            let found = client_address(peer.parse().unwrap(), forwarded.iter().copied(), &trusted);
            assert_eq!(found.to_string(), client, "{peer} {forwarded:?}");
        }
        let none = client_address([10, 1, 2, 3].into(), ["203.0.113.9"].into_iter(), &[]);
        assert_eq!(none.to_string(), "10.1.2.3");
    }

    #[test]
    fn networks_are_read_strictly() {
        for (text, inside, outside) in [
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("192.0.2.128/25", "192.0.2.200", "192.0.2.127"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::1", "::1", "::2"),
        ] {
            let network: Network = text.parse().unwrap();
            assert!(network.contains(inside.parse().unwrap()), "{text}");
            assert!(!network.contains(outside.parse().unwrap()), "{text}");
        }
        for text in [
            "",
            "10.0.0.0/33",
            "10.1.2.3/8",
            "10.0.0.0/+8",
            "::1/129",
            "::1/64",
            "host",
            "::ffff:10.0.0.0/104",
        ] {
            assert_eq!(text.parse::<Network>(), Err(ParseNetworkError), "{text}");
        }
    }
}
