//! Builds the connection settings of a channel: the client certificate and the egress proxy.

use crate::certificate::{Part, TlsIdentity};
use crate::channel::EgressProxy;

use super::error::{Problems, Reported};
use super::file::{self, Credential, WordOr};
use super::sources::Sources;

const PROXY_HINT: &str = "write http://HOST:PORT, or { env: NAME } or { file: PATH } for what holds \
                          http://USER:PASSWORD@HOST:PORT";

/// Builds the client certificate of a channel with its private key; `None` if the file has none.
///
/// `is_plain` says that the channel's URL is without TLS, where a client certificate is an error.
pub(super) fn build_client_cert(
    file: &file::Channel,
    is_plain: bool,
    sources: Sources<'_>,
    problems: &mut Problems,
) -> Result<Option<TlsIdentity>, Reported> {
    let Some(files) = &file.client_cert else {
        return Ok(None);
    };
    if is_plain {
        return Err(problems.report_hint(
            files.referenced,
            "`client_cert` is of no use to a channel without TLS",
            "remove it, or write https:// in `url`",
        ));
    }
    let files = &files.value;
    let cert = sources.text(&files.cert, problems);
    let key = sources.text(&files.key, problems);
    let ((cert_path, cert), (key_path, key)) = (cert?, key?);
    // The certificate is part of the configuration's hash; the private key is not.
    sources.read.borrow_mut().hash(&cert);
    let identity = TlsIdentity::from_pem(cert.as_bytes(), key.as_bytes());
    let identity = identity.map_err(|error| {
        let (at, path) = match error.part {
            Part::Certificate => (&files.cert, cert_path),
            Part::Key => (&files.key, key_path),
        };
        let message = format!("cannot use `{}`: {error}", path.display());
        problems.report(at.referenced, message)
    })?;
    Ok(Some(identity))
}

/// Builds the egress proxy of a channel; `None` if the file has none.
///
/// A user or password of the proxy in the configuration file itself is an error. The message does not repeat
/// them.
pub(super) fn build_proxy(
    file: &file::Channel,
    sources: Sources<'_>,
    problems: &mut Problems,
) -> Result<Option<EgressProxy>, Reported> {
    let Some(proxy) = &file.proxy else {
        return Ok(None);
    };
    let at = proxy.referenced;
    let (parsed, is_written) = match &proxy.value {
        WordOr::Word(word) => (EgressProxy::parse(word), true),
        WordOr::Section(source @ (Credential::Env(_) | Credential::File(_))) => {
            let url = sources.credential(source, at, problems)?;
            (EgressProxy::parse(url.expose()), false)
        }
        _ => return Err(problems.report_hint(at, "this is no proxy", PROXY_HINT)),
    };
    match parsed {
        Ok(proxy) if is_written && proxy.authorization.is_some() => Err(problems.report_hint(
            at,
            "the user and password of a proxy do not stand in the configuration",
            PROXY_HINT,
        )),
        Ok(proxy) => Ok(Some(proxy)),
        Err(error) => Err(problems.report(at, error.to_string())),
    }
}
