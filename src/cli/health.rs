//! `tollgate health`: asks a gate whether it is ready, for containers that have no other tool for it. It
//! reads no configuration: a mistake in the file does not make a running gate unhealthy.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

/// The maximum time to connect to the gate, and for each read and write.
const WITHIN: Duration = Duration::from_secs(5);

/// The maximum number of bytes that are read of an answer.
const ANSWER_BYTES: u64 = 64 * 1024;

pub(super) fn run(address: SocketAddr) -> ExitCode {
    match ask(reachable(address)) {
        Ok((true, _)) => ExitCode::SUCCESS,
        Ok((false, why)) => super::fail(format!("not ready: {why}")),
        Err(error) => super::fail(format!("{address}: {error}")),
    }
}

/// Returns the address by which this machine reaches a gate that listens on `address`: the loopback address
/// if `address` is `0.0.0.0` or `[::]`, which listens on all addresses.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    (ip, address.port()).into()
}

/// Requests `/readyz` at `address`. Returns whether the gate is ready, and the body of the answer.
fn ask(address: SocketAddr) -> io::Result<(bool, String)> {
    let mut stream = TcpStream::connect_timeout(&address, WITHIN)?;
    stream.set_read_timeout(Some(WITHIN))?;
    stream.set_write_timeout(Some(WITHIN))?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).unwrap_or_default();
    Ok((status == "200", body.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_that_listens_everywhere_is_asked_on_this_machine() {
        for (listens, asked) in [
            ("0.0.0.0:9090", "127.0.0.1:9090"),
            ("[::]:9090", "[::1]:9090"),
            ("10.0.0.7:9090", "10.0.0.7:9090"),
        ] {
            let asked: SocketAddr = asked.parse().unwrap();
            assert_eq!(reachable(listens.parse().unwrap()), asked);
        }
    }
}
