//! Deletes a video at its channel.
//!
//! What is deleted leaves its key's limit of jobs in flight and stays charged unless its end was
//! seen before. So a deletion counts only where the channel has really made it: a 404 may come
//! from a channel that has no such route, and a 200 from anything. And nothing is deleted while
//! the ledger cannot note it: the end of the job could not be found out afterwards.

use std::sync::Arc;

use http::{Method, StatusCode};
use pingora::protocols::http::ServerSession;

use super::answer::JobAnswer;
use super::asking::{Asked, Silent};
use super::exchange::Answer;
use super::inquiry::Mute;
use super::known::Known;
use super::refusal::{Busy, ChannelFault, Refusal};
use super::reply::Reply;
use super::route::Route;
use super::upload::Stopped;
use super::{Gate, State, channel_of, ids, relay};
use crate::channel::LiveChannel;
use crate::dialect::{Deletion, Dialect};

impl Gate {
    /// A deletion. It is noted before its answer goes out, so that a list that is asked for
    /// after it does not show the job. The client is not watched: what is deleted is deleted.
    pub(super) async fn delete(
        &self,
        session: &ServerSession,
        state: &State,
        route: &Route,
        known: Arc<Known>,
    ) -> Result<Reply, Stopped> {
        let channel = channel_of(state, &known.job)?;
        self.ledger().ready().await?;
        let mut was_absent = false;
        if !known.is_resolved() {
            // Its last chance to tell how it ended.
            let told = self.look(state, &channel, &known).await;
            let has_ended =
                matches!(&told, Ok(told) if told.job.status.is_some_and(|s| s.is_end()));
            if has_ended && !known.is_resolved() {
                return Err(Refusal::Busy(Busy::Ledger).into());
            }
            was_absent = told.is_err_and(|mute| mute == Mute::Absent);
        }
        let client = session.req_header();
        let asked = Asked {
            method: Method::DELETE,
            route,
            job: known.upstream_id(),
            query: client.uri.query(),
            path: None,
            headers: relay::passing_up(&client.headers),
        };
        let most = state.config.bounds.answer_bytes;
        let answer = self.ask_for(&channel, asked, most).await;
        let mut answer = answer.map_err(Refusal::from)?;
        let deletion = self
            .judge_deletion(state, &channel, &known, &answer, was_absent)
            .await?;
        if let Some(job) = JobAnswer::read(&answer.body, &channel.spec().dialect) {
            answer.body = ids::told(&job, &answer.body, &known.job.id, None);
        }
        match deletion {
            Deletion::Done => {
                self.books.delete(&known).await;
                Ok(Reply::of(self.successful(&channel, answer)?))
            }
            Deletion::Unsupported => {
                let name = &channel.spec().name;
                let (id, status) = (&known.job.id, answer.status);
                let what = format_args!(
                    "job {id} was not deleted: DELETE was answered with {status}, and it is there"
                );
                self.channel_failed(name, "status", what);
                Err(Refusal::Channel(ChannelFault::NotDeleted).into())
            }
            // Accepted, or refused in the channel's words.
            Deletion::Refused | Deletion::Unproven => {
                Ok(Reply::of(self.successful(&channel, answer)?))
            }
        }
    }

    /// What became of the job, by the answer and, where that proves nothing, by another look.
    async fn judge_deletion(
        &self,
        state: &State,
        channel: &Arc<LiveChannel>,
        known: &Known,
        answer: &Answer,
        was_absent: bool,
    ) -> Result<Deletion, Stopped> {
        let dialect: &Dialect = &channel.spec().dialect;
        let status = answer.status.as_u16();
        let deletion = match answer.cut {
            true => Deletion::Unproven,
            false => dialect.deletion(status, &answer.body, &known.job.upstream_id),
        };
        if deletion != Deletion::Unproven {
            return Ok(deletion);
        }
        if was_absent {
            return Ok(Deletion::Done);
        }
        // How it ended is not asked any more: what was deleted stays charged.
        match self.ask(state, channel, known).await {
            Err(Mute::Absent) => Ok(Deletion::Done),
            Ok(told) if told.job.is_cancelled() => Ok(Deletion::Done),
            Ok(_) if answer.status == StatusCode::ACCEPTED => Ok(Deletion::Unproven),
            Ok(_) => Ok(Deletion::Unsupported),
            Err(Mute::Unclear) if known.is_resolved() && answer.status.is_success() => {
                Ok(Deletion::Done)
            }
            Err(_) => Err(Refusal::from(Silent::Broken).into()),
        }
    }
}
