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

    /// What clients know by an id.
    pub async fn known_by(&self, id: &str) -> Option<Job> {
        let rows = self.store.rows().await;
        let row = rows.iter().find(|row| row.job.as_deref() == Some(id))?;
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
            let mut owner = self.made[number].asked.key;
            let job = self.known_by(&id).await;
            // A gate that cannot reach its ledger tells the channel's id, as a reconciliation would: nobody
            // can say then that a job of another channel has it. When all is written, it is that job's.
            let maker = job.as_ref().map(|job| self.made[job.request].asked.key);
            // An id whose record is gone may have become that of another job.
            let had = |row: &Row| row.job.as_ref() == Some(&id);
            let is_again = self.forgotten.iter().any(had);
            let may_differ = is_again || self.has_failed_over || self.was_cut;
            if let Some(maker) = maker.filter(|maker| may_differ && *maker != owner) {
                if !all && !is_again {
                    continue;
                }
                owner = maker;
            }
            for key in 0..KEYS {
                let path = format!("/v1/videos/{}/content", encoded(&id));
                let gate = number % self.gates.len();
                let Some(answer) = self.send(gate, key, Request::get(&path)).await else {
                    continue;
                };
                let is_there = job.as_ref().is_some_and(|job| !job.deleted);
                let served = |job: &Job| self.plan.channels[job.channel];
                let is_served = job.as_ref().is_none_or(served);
                let expected = match self.plan.groups[key] {
                    None => 401,
                    Some(_) if key != owner => 404,
                    Some(_) if is_there => 200,
                    Some(_) => 404,
                };
                // A job that the ledger has forgotten may still be known.
                let forgotten = job.is_none() && key == owner && answer.status == 200;
                // A gate that has removed the channel goes on to ask it until it is started anew.
                let unserved = !is_served && key == owner && answer.status == 503;
                if answer.status != expected
                    && !(forgotten || unserved)
                    && !(self.was_cut && answer.status == 503)
                {
                    wrong.push(format!(
                        "job {id} of k{owner}, asked for by {}: {} instead of {expected}",
                        secret(key),
                        answer.status
                    ));
                }
            }
        }
        wrong
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
