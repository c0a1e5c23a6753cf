//! The hooks for requests that Pingora's proxy loop forwards: downloads and deletions. Each goes to the channel that made the job.

use std::time::Instant;

use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::{FailToProxy, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType};

use super::Gate;
use super::books::{End, now};
use super::context::{Context, Forward};
use super::known::Known;
use super::refusal::{Busy, ChannelFault, Refusal};
use super::relay::{clean_answer, redirect};
use super::route::Route;
use crate::metrics::seconds;

/// The channel refuses the gate's account.
const ACCOUNT: ErrorType = ErrorType::new("ChannelAccount");

fn forward(ctx: &mut Context) -> pingora::Result<&mut Forward> {
    let missing = || Error::explain(ErrorType::InternalError, "no channel was chosen");
    ctx.forward.as_mut().ok_or_else(missing)
}

impl Gate {
    /// Mirrors [`ProxyHttp::upstream_peer`](pingora::proxy::ProxyHttp::upstream_peer).
    ///
    /// # Errors
    /// Where the channel's name cannot be resolved.
    pub async fn upstream_peer(&self, ctx: &mut Context) -> pingora::Result<Box<HttpPeer>> {
        let forward = forward(ctx)?;
        let channel = &forward.channel;
        forward.in_flight = Some(channel.enter());
        match channel.peer(now()).await {
            Ok(peer) => Ok(Box::new((*peer).clone())),
            Err(error) => {
                self.metrics.channel_error(&channel.spec().name, "resolve");
                channel.failed(now());
                Err(Error::explain(ErrorType::ConnectError, error.reason).into_up())
            }
        }
    }

    /// Mirrors [`ProxyHttp::fail_to_connect`](pingora::proxy::ProxyHttp::fail_to_connect):
    /// notes that the channel cannot be reached.
    pub fn fail_to_connect(&self, ctx: &mut Context, error: Box<Error>) -> Box<Error> {
        if let Ok(forward) = forward(ctx) {
            let channel = &forward.channel;
            self.metrics.channel_error(&channel.spec().name, "connect");
            channel.failed(now());
        }
        error
    }

    /// Mirrors [`ProxyHttp::upstream_request_filter`](pingora::proxy::ProxyHttp::upstream_request_filter):
    /// leaves in the head what passes, and puts the channel's credential in.
    ///
    /// # Errors
    /// Where the head cannot be built.
    pub fn upstream_request_filter(
        &self,
        request: &mut RequestHeader,
        ctx: &mut Context,
    ) -> pingora::Result<()> {
        let forward = forward(ctx)?;
        let channel = &forward.channel;
        channel.succeeded();
        redirect(request, &forward.route, channel)?;
        forward.sent = Some(Instant::now());
        Ok(())
    }

    /// Mirrors [`ProxyHttp::response_filter`](pingora::proxy::ProxyHttp::response_filter):
    /// strips what is the channel's own and forbids shared caches to keep the rest. A
    /// deletion is noted before its answer goes out, so that a list that is asked for after
    /// it does not show the job.
    ///
    /// # Errors
    /// Where a header cannot be written.
    pub async fn response_filter(
        &self,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> pingora::Result<()> {
        if response.status.is_informational() {
            return clean_answer(response);
        }
        let forward = forward(ctx)?;
        let channel = &forward.channel;
        let name = &channel.spec().name;
        if let Some(sent) = forward.sent {
            let labels = [&**name, forward.route.label()];
            let histogram = &self.metrics.upstream_response;
            histogram
                .with_label_values(&labels)
                .observe(seconds(sent.elapsed()));
        }
        match response.status.as_u16() {
            401..=403 => {
                log::error!(
                    "channel {name} refuses the gate's account: {}",
                    response.status
                );
                self.metrics.channel_error(name, "account");
                // Answered by `fail_to_proxy`.
                return Err(Error::explain(ACCOUNT, "the channel refuses the gate").into_up());
            }
            429 => self.metrics.channel_error(name, "rate_limited"),
            500.. => self.metrics.channel_error(name, "status"),
            _ => {}
        }
        if response.status.is_success() && matches!(forward.route, Route::Delete(_)) {
            self.note_deletion(&forward.known).await;
        }
        clean_answer(response)
    }

    async fn note_deletion(&self, known: &Known) {
        let reservation = known.job.reservation;
        if let Err(error) = self.ledger().mark_deleted(reservation, now()).await {
            log::error!("reservation {reservation} not marked as deleted: {error}");
        }
        // Nobody can see its end any more, and the channel gives nothing back.
        if !known.is_resolved() {
            let _ = self.books.end(known, End::DELETED).await;
        }
    }

    /// Mirrors [`ProxyHttp::fail_to_proxy`](pingora::proxy::ProxyHttp::fail_to_proxy): an
    /// error in the API's shape, where one can still be written.
    pub async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut Context,
    ) -> FailToProxy {
        let nothing = FailToProxy {
            error_code: 0,
            can_reuse_downstream: false,
        };
        // In place of Pingora's own lines, which repeat the path and what a channel sent.
        let (side, kind) = (error.esource().as_str(), error.etype().as_str());
        log::warn!("{} of {}: {kind} ({side})", ctx.route, ctx.key);
        let gone = *error.esource() == ErrorSource::Downstream;
        if gone || session.response_written().is_some() {
            return nothing;
        }
        // Of a create that got its answer: what the host makes of that comes after.
        let created = matches!(ctx.route, "create" | "remix");
        let refusal = match error.etype() {
            ErrorType::ConnectTimedout
            | ErrorType::ConnectRefused
            | ErrorType::ConnectNoRoute
            | ErrorType::ConnectError
            | ErrorType::TLSHandshakeFailure
            | ErrorType::TLSHandshakeTimedout
            | ErrorType::InvalidCert => Refusal::Busy(Busy::Channels),
            ErrorType::ReadTimedout | ErrorType::WriteTimedout => {
                Refusal::Channel(ChannelFault::Timeout { created: false })
            }
            etype if *etype == ACCOUNT => Refusal::Channel(ChannelFault::Account),
            _ => Refusal::Channel(ChannelFault::Broken { created }),
        };
        // The others have been counted where they were noticed.
        let kind = match refusal {
            Refusal::Channel(ChannelFault::Timeout { .. }) => Some("timeout"),
            Refusal::Channel(ChannelFault::Broken { .. }) => Some("broken"),
            _ => None,
        };
        if let (Some(forward), Some(kind)) = (&ctx.forward, kind) {
            let name = &forward.channel.spec().name;
            log::warn!("channel {name}: {}", error.etype().as_str());
            self.metrics.channel_error(name, kind);
        }
        let status = refusal.answer().status.as_u16();
        match self.refuse(session, ctx, &refusal).await {
            Ok(()) => FailToProxy {
                error_code: status,
                can_reuse_downstream: false,
            },
            Err(_) => nothing,
        }
    }

    /// Mirrors [`ProxyHttp::logging`](pingora::proxy::ProxyHttp::logging): settles what the
    /// answer told about a job, and counts the request.
    pub async fn logging(&self, session: &mut Session, ctx: &mut Context) {
        if !ctx.claimed {
            return;
        }
        if let Some(seen) = ctx.seen.take() {
            self.learn(&ctx.state, seen).await;
        }
        let code = session.response_written().map(|head| head.status);
        // 499: the client was gone before an answer could be written.
        let gone = http::StatusCode::from_u16(499).unwrap_or(http::StatusCode::REQUEST_TIMEOUT);
        self.metrics
            .request(ctx.route, &ctx.key, code.unwrap_or(gone));
        let (received, sent) = (session.body_bytes_read(), session.body_bytes_sent());
        self.metrics.bodies(ctx.route, received as u64, sent as u64);
    }
}
