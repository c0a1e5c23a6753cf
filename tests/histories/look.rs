//! What the model asks the gates for.

use tollgate::ledger;
use tollgate::policy;

use crate::channel::Job;
use crate::model::Scope;
use crate::plan::{KEYS, Limit, Measure, Window, secret};
use crate::requests::{Made, encoded};
use crate::row::Row;
use crate::support::client::Request;
use crate::world::{Node, World};

impl Made {
    pub fn key_name(&self) -> String {
        format!("k{}", self.asked.key)
    }
}

impl World<'_> {
    /// The request that was reserved at that time by its gate's clock: when it was made, or once
    /// more when its channel went on with it after its reservation had been given up.
    pub fn number_at(&self, at: u64) -> Option<usize> {
        let made = self.made.iter().position(|made| made.at == at);
        let released = || {
            self.made
                .iter()
                .position(|made| made.released_at == Some(at))
        };
        made.or_else(released)
    }

    /// The reservation of the job that a key's client knows by an id: the public id, or the job's id at its
    /// channel, which clients are told while the ledger is away, although another job may have it.
    pub fn named<'a>(&self, rows: &'a [Row], key: usize, id: &str) -> Option<&'a Row> {
        let own = |row: &&Row| row.key == format!("k{key}");
        let public = |row: &&Row| row.job.as_deref() == Some(id);
        let found = rows.iter().filter(own).find(public);
        found.or_else(|| {
            let told = |row: &&Row| row.is_renamed_from(id);
            let mut found = rows.iter().filter(own).filter(told);
            found.next().filter(|_| found.next().is_none())
        })
    }

    /// The job of a reservation.
    pub fn job_of(&self, row: &Row) -> Option<Job> {
        let truth = self.channels.truth();
        truth.jobs.iter().find(|job| row.has(job)).cloned()
    }

    /// The currency of a key's limits.
    pub fn currency_of(&self, key: usize) -> &'static str {
        self.plan.currency(self.plan.groups[key].unwrap_or(0))
    }

    /// How far a key's limits are used up.
    pub async fn usage(&self, gate: &Node, key: usize) -> Vec<(Scope, Limit, u64)> {
        let state = gate.handle.snapshot();
        let key = state.config.key_named(&format!("k{key}")).unwrap().clone();
        let (ledger, now) = (gate.handle.ledger().clone(), gate.handle.now());
        let usage = gate
            .runtime()
            .spawn(async move { ledger.usage(&key, now).await });
        // The model looks again where the ledger is away.
        let usage = usage.await.unwrap().unwrap_or_default();
        usage.into_iter().map(counted).collect()
    }

    /// Whether jobs are reached by their own keys, and by no others.
    pub async fn check_reach(&mut self, all: bool) -> Vec<String> {
        let mut wrong = Vec::new();
        let told = self.made.iter().enumerate();
        let told = told.filter_map(|(number, made)| Some((number, made.told()?.to_owned())));
        let mut told: Vec<_> = told.collect();
        if !all && told.len() > 1 {
            told.drain(..told.len() - 1);
        }
        for (number, id) in told {
            let asker = self.made[number].asked.key;
            let rows = self.store.rows().await;
            let has_id = |row: &&Row| row.job.as_ref() == Some(&id);
            let is_others = rows.iter().find(has_id);
            let is_others = is_others.is_some_and(|row| row.key != self.made[number].key_name());
            // An id whose record is gone may have become that of another job.
            let is_again = self.forgotten.iter().any(|row| has_id(&row));
            // Two jobs of a key that were told by one id are in its list alone.
            let renamed =
                |row: &&Row| row.key == self.made[number].key_name() && row.is_renamed_from(&id);
            let is_lost = rows.iter().filter(renamed).count() < 2;
            let is_lost = is_lost && is_others && !is_again && !self.has_failed_over;
            for key in 0..KEYS {
                let row = self.named(&rows, key, &id);
                let path = format!("/v1/videos/{}/content", encoded(&id));
                let gate = number % self.gates.len();
                let Some(answer) = self.send(gate, key, Request::get(&path)).await else {
                    continue;
                };
                let job = row.and_then(|row| self.job_of(row));
                let is_there = job.as_ref().is_some_and(|job| !job.deleted);
                let served = |job: &Job| self.plan.channels[job.channel];
                let is_served = job.as_ref().is_none_or(served);
                let expected = match self.plan.groups[key] {
                    None => 401,
                    Some(_) if is_there || row.is_none() && key == asker && is_lost => 200,
                    Some(_) => 404,
                };
                // A job that the ledger has forgotten may still be known.
                let forgotten = row.is_none() && key == asker && !is_others;
                let forgotten = forgotten && answer.status == 200;
                // A request whose confirmation is still to be written has its job already at the gate that made
                // it.
                let may_be_owed = self.was_cut || self.has_failed_over;
                let is_owed = row.is_none() && key == asker && may_be_owed && !all;
                // A gate that has removed the channel goes on to ask it until it is started anew.
                let told_otherwise = row.is_some_and(|row| row.job.as_ref() != Some(&id));
                let status = answer.status;
                let unserved = !is_served && (status == 503 || told_otherwise && status == 404);
                // A gate may still know the key's own job that had this id, and whose record is gone, where the
                // id leads to another job of the key by that job's id at its channel.
                let own = |gone: &&Row| has_id(gone) && gone.key == format!("k{key}");
                let gone = self.forgotten.iter().find(own).filter(|_| told_otherwise);
                let gone = gone.and_then(|gone| self.job_of(gone));
                if status == 200 {
                    let is_of = |job: &&Job| answer.body == job.request.to_string().as_bytes();
                    let job = gone.as_ref().filter(is_of).or(job.as_ref());
                    wrong.extend(self.check_video(key, job, &answer.body));
                }
                let is_gone = gone.as_ref().is_some_and(|job| match status {
                    404 => job.deleted,
                    503 => !served(job),
                    _ => false,
                });
                if answer.status != expected
                    && !(forgotten || unserved || is_owed || is_gone)
                    && !(self.was_cut && answer.status == 503)
                {
                    wrong.push(format!(
                        "job {id} of k{asker}, asked for by {}: {} instead of {expected}",
                        secret(key),
                        answer.status
                    ));
                }
            }
        }
        wrong
    }

    /// Whether a key got the video of its own job, and of this one if it is known.
    fn check_video(&self, key: usize, job: Option<&Job>, video: &[u8]) -> Option<String> {
        let made_for: usize = String::from_utf8_lossy(video).parse().unwrap();
        let is_another = job.is_some_and(|job| job.request != made_for);
        let is_wrong = is_another || self.made[made_for].asked.key != key;
        is_wrong.then(|| {
            let key = secret(key);
            format!("{key} got the video of request {made_for}, instead of {job:?}")
        })
    }
}

fn counted(usage: ledger::Usage) -> (Scope, Limit, u64) {
    let scope = match usage.scope {
        ledger::Scope::Key(name) => Scope::Key(name.to_string()),
        ledger::Scope::Group(name) => Scope::Group(name.to_string()),
        ledger::Scope::Channel(_) => unreachable!("no limit of a key or group"),
    };
    let measure = match usage.limit.measure {
        policy::Measure::Requests => Measure::Requests,
        policy::Measure::VideoSeconds => Measure::VideoSeconds,
        policy::Measure::ListCost => Measure::ListCost,
        policy::Measure::BilledCost => Measure::BilledCost,
        policy::Measure::Cost => unreachable!("no limit of a key or group counts it"),
        policy::Measure::InFlight => Measure::InFlight,
    };
    let window = match usage.limit.window {
        policy::Window::Minute => Window::Minute,
        policy::Window::Hour => Window::Hour,
        policy::Window::Day => Window::Day,
        policy::Window::Month => Window::Month,
        policy::Window::Total => Window::Total,
    };
    (scope, (measure, usage.limit.max, window), usage.used)
}
