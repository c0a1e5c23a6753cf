//! The clients of a history: what they send, and what they are told.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::plan::{DRIP, MODELS, SECONDS, SIZES, secret};
use crate::requests::{Made, Sent};
use crate::step::{Create, Deletion, Play, Polling};
use crate::store::PATIENCE;
use crate::support::client::{Answer, Connection, Request};
use crate::world::World;

impl World<'_> {
    /// Notes a request, and makes it the one that a channel sees next.
    fn note(&mut self, create: Create, idem: Option<String>, source: Option<String>) -> Request {
        let (asked, number) = (create.asked, self.made.len());
        let made = Made::new(create, idem.clone(), source.clone(), self);
        let mut body = serde_json::Map::new();
        let mut field = |name: &str, value: &str| body.insert(name.into(), value.into());
        field("prompt", crate::plan::PROMPTS[asked.prompt]);
        if source.is_none() {
            field("model", MODELS[asked.model].0);
            field("seconds", &SECONDS[asked.seconds].to_string());
            field("size", SIZES[asked.size]);
        }
        self.made.push(made);
        let play = match create.play {
            Play::Drip if asked.model != DRIP || source.is_some() => Play::Half,
            play => play,
        };
        self.channels.truth().next = Some((number, play, create.render));
        let path = match source {
            Some(id) => format!("/v1/videos/{}/remix", crate::requests::encoded(&id)),
            None => "/v1/videos".to_owned(),
        };
        let body = serde_json::Value::Object(body).to_string().into_bytes();
        let mut request = Request::new("POST", &path).key(&secret(asked.key));
        request = request.header("Content-Type", "application/json");
        if let Some(idem) = idem {
            request = request.header("Idempotency-Key", &idem);
        }
        request.body = Some(crate::support::client::Body::Length(body, vec![]));
        request
    }

    /// The request of a create, if what it is a remix of can be had.
    fn prepare(&mut self, create: Create) -> Option<Request> {
        let idem = create.asked.idem.map(|name| format!("idem-{name}"));
        let source = match create.asked.remix {
            Some(which) => Some(self.told_to(create.asked.key, which)?),
            None => None,
        };
        Some(self.note(create, idem, source))
    }

    pub async fn create(&mut self, create: Create) {
        if let Some(request) = self.prepare(create) {
            self.send_create(create, request).await;
        }
    }

    async fn send_create(&mut self, create: Create, request: Request) {
        let number = self.made.len() - 1;
        if create.leaves {
            return self.send_and_leave(create, request).await;
        }
        let holds = matches!(create.play, Play::Hold | Play::HoldMade);
        let address = self.gates[create.gate].address;
        let mut task = tokio::spawn(async move { request.send(address).await });
        if holds {
            if !self.arrives(number, &task).await {
                return self.note_answer(number, (&mut task).await.unwrap());
            }
            self.made[number].sent = Sent::InProgress;
            self.in_progress.push((number, task));
            return;
        }
        let answer = task.await.unwrap();
        self.note_answer(number, answer);
        self.settle_down(create.gate).await;
    }

    /// Whether a channel has a request, rather than that it was answered.
    async fn arrives(&self, number: usize, task: &JoinHandle<std::io::Result<Answer>>) -> bool {
        loop {
            if self.channels.truth().held.contains_key(&number) {
                return true;
            }
            if task.is_finished() {
                return false;
            }
            tokio::time::sleep(Duration::from_micros(300)).await;
        }
    }

    /// The client goes once its request is at the channel.
    async fn send_and_leave(&mut self, create: Create, request: Request) {
        let number = self.made.len() - 1;
        let play = self.channels.truth().next.unwrap().1;
        // Held until the client is gone.
        let hold = if play.makes() {
            Play::HoldMade
        } else {
            Play::Hold
        };
        self.channels.truth().next = Some((number, hold, create.render));
        let address = self.gates[create.gate].address;
        let mut task = tokio::spawn(async move { request.send(address).await });
        if !self.arrives(number, &task).await {
            return self.note_answer(number, (&mut task).await.unwrap());
        }
        task.abort();
        let _ = task.await;
        self.made[number].sent = Sent::Left;
        // A channel that it goes on to from there answers the same.
        self.channels.truth().next = Some((number, play, create.render));
        let held = self.channels.truth().held.remove(&number);
        let _ = held.unwrap().send(play);
        self.resolves(number).await;
    }

    /// Waits until a gate has made something of a request whose client is gone.
    async fn resolves(&mut self, number: usize) {
        let at = self.made[number].at;
        let done = async || {
            let rows = self.store.rows().await;
            let mut own = rows.iter().filter(|row| row.created == at);
            !own.any(|row| row.state == "pending")
        };
        let resolved = timeout(Duration::from_secs(15), async {
            while !done().await {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        if resolved.await.is_err() {
            self.faults.push(format!(
                "request {number} stays pending though it has its answer"
            ));
        }
    }

    pub async fn create_together(&mut self, mut create: Create, times: usize) {
        if matches!(create.play, Play::Hold | Play::HoldMade | Play::Drip) {
            create.play = Play::Answer;
        }
        create.leaves = false;
        let first = self.made.len();
        let mut tasks = Vec::new();
        for _ in 0..times {
            let Some(request) = self.prepare(create) else {
                return;
            };
            let address = self.gates[create.gate].address;
            tasks.push(async move { request.send(address).await });
        }
        // The channel cannot tell them apart.
        self.channels.truth().next.as_mut().unwrap().0 = first;
        let tasks: Vec<_> = tasks.into_iter().map(tokio::spawn).collect();
        for (number, task) in (first..).zip(tasks) {
            self.made[number].together = Some(first);
            let answer = task.await.unwrap();
            self.note_answer(number, answer);
        }
        self.settle_down(create.gate).await;
    }

    pub async fn repeat(&mut self, which: usize, play: Play) {
        let named: Vec<_> = self
            .made
            .iter()
            .filter(|made| made.idem.is_some())
            .collect();
        let Some(made) = named.get(which % named.len().max(1)) else {
            return;
        };
        let (idem, source) = (made.idem.clone(), made.source.clone());
        let mut create = Create {
            play,
            ..made.create
        };
        create.leaves = false;
        let request = self.note(create, idem, source);
        self.send_create(create, request).await;
    }

    pub async fn release(&mut self, which: usize, play: Play) {
        if self.in_progress.is_empty() {
            return;
        }
        let (number, task) = self.in_progress.remove(which % self.in_progress.len());
        let create = self.made[number].create;
        let held = {
            let mut truth = self.channels.truth();
            // A channel that it goes on to from there answers the same.
            truth.next = Some((number, play, create.render));
            truth.held.remove(&number)
        };
        let gate = &self.gates[create.gate];
        self.made[number].released_at = Some(gate.time_at(self.now()));
        // The gate may have given it up.
        let _ = held.map(|held| held.send(play));
        let answer = timeout(PATIENCE, task).await;
        let answer =
            answer.map_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()), Result::unwrap);
        self.note_answer(number, answer);
    }

    pub fn has_in_progress(&self) -> bool {
        !self.in_progress.is_empty()
    }

    /// A request about something else than a create. One that fails on a connection that has
    /// served before is sent again on another.
    pub async fn send(&mut self, gate: usize, key: usize, request: Request) -> Option<Answer> {
        let request = request.key(&secret(key));
        let node = &mut self.gates[gate];
        let mut answer = None;
        if let Some(connection) = &mut node.connection {
            answer = connection.send(&request).await.ok();
        }
        if answer.is_none() {
            let mut connection = Connection::open(node.address).await.unwrap();
            answer = connection.send(&request).await.ok();
            node.connection = Some(connection);
        }
        let closes = |answer: &Answer| answer.header("connection") == Some("close");
        if answer.as_ref().is_none_or(closes) {
            node.connection = None;
        }
        if answer.is_none() {
            let what = format!("{} {}", request.method, request.path);
            self.faults
                .push(format!("no answer to {what} of key {key}"));
        }
        answer
    }

    /// What a gate does after an answer is done before it reads the next request.
    async fn settle_down(&mut self, gate: usize) {
        self.send(gate, 0, Request::get("/nothing")).await;
    }

    pub async fn poll(&mut self, gate: usize, which: usize) {
        let Some((id, key)) = self.told(which) else {
            return;
        };
        let path = format!("/v1/videos/{}", crate::requests::encoded(&id));
        let answer = self.send(gate, key, Request::get(&path)).await;
        self.settle_down(gate).await;
        let told = answer.is_some_and(|answer| answer.status == 200);
        if told && !self.was_cut && self.has_ended(key, &id).await {
            self.ended.push(id);
        }
    }

    /// Whether the channel says to who asks that a job has ended.
    async fn has_ended(&self, key: usize, id: &str) -> bool {
        let rows = self.store.rows().await;
        let job = self.named(&rows, key, id).and_then(|row| self.job_of(row));
        job.is_some_and(|job| {
            let polling = self.channels.truth().polling[job.channel];
            let clear = [Polling::Whole, Polling::OtherWords, Polling::Unreadable];
            job.status != crate::step::Status::Queued && clear.contains(&polling)
        })
    }

    pub async fn delete(&mut self, gate: usize, which: usize, deletion: Deletion) {
        let Some((id, key)) = self.told(which) else {
            return;
        };
        self.channels.truth().deletion = deletion;
        let path = format!("/v1/videos/{}", crate::requests::encoded(&id));
        self.send(gate, key, Request::new("DELETE", &path)).await;
        self.settle_down(gate).await;
    }

    /// One of the jobs that clients were told of, and whose it is.
    fn told(&self, which: usize) -> Option<(String, usize)> {
        let told = self
            .made
            .iter()
            .filter_map(|made| Some((made.told()?, made.asked.key)));
        let told: Vec<_> = told.collect();
        let (id, key) = *told.get(which % told.len().max(1))?;
        Some((id.to_owned(), key))
    }

    fn told_to(&self, key: usize, which: usize) -> Option<String> {
        let own = self.made.iter().filter(|made| made.asked.key == key);
        let own: Vec<_> = own.filter_map(Made::told).collect();
        own.get(which % own.len().max(1)).map(|id| (*id).to_owned())
    }
}
